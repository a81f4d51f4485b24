// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Finite;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

/// One trip over a model's blocks: load, let every pass work, move the calibration sequences
/// through what the passes left, hand the block on, free it.
///
/// The order of GPTQ's own loop over layers (IST-DASLab/gptq, llama_sequential): outputs of
/// compressed blocks feed the blocks after them.
final class BlockStream implements AutoCloseable {
    private final LanguageModel model;
    private final OutputPlan plan;
    private final List<BlockPass> passes;
    private final Sequences sequences;
    private final List<Listener> listeners;
    private final Path inputs;
    private final Map<BlockPass, double[]> surveys = new IdentityHashMap<>();

    /// The next block, where a device loads it while it still works on this one.
    private Loaded ahead;

    /// A block's weights: mapped, or copied to the device.
    private final class Loaded implements AutoCloseable {
        final int index;
        final TensorReader reader;
        final TensorArena arena;
        final DecoderBlock block;

        @MustBeClosed
        @SuppressWarnings("MustBeClosed") // closed by close()
        Loaded(int index) {
            this.index = index;
            reader = model.checkpoint().reader(model.backend().host());
            try {
                arena = model.newBlockArena(index, replacedBytes(index));
                try {
                    block = model.block(index, reader, arena);
                } catch (RuntimeException e) {
                    arena.close();
                    throw e;
                }
            } catch (RuntimeException e) {
                reader.close();
                throw e;
            }
        }

        @Override
        public void close() {
            arena.close();
            reader.close();
        }
    }

    /// A block that every pass has left, while its weights are still in memory.
    ///
    /// @param reader of what it was made of
    record Finished(
            int index, DecoderBlock block, TensorReader reader, List<ModuleReport> reports) {}

    /// Hears of every finished block, in order.
    interface Listener {
        void finished(Finished block);
    }

    /// @param listeners each hears of a block before the next one does
    /// @param inputs a file for a block's inputs while several passes work on it
    BlockStream(
            LanguageModel model,
            OutputPlan plan,
            List<BlockPass> passes,
            Sequences sequences,
            List<Listener> listeners,
            Path inputs) {
        this.model = model;
        this.plan = plan;
        this.passes = passes;
        this.sequences = sequences;
        this.listeners = listeners;
        this.inputs = inputs;
    }

    /// Lets a pass look at every block as it is. The sequences end behind the last one.
    double[] survey(BlockPass pass, Progress progress) {
        int layers = model.spec().layers().size();
        double[] found = new double[layers];
        progress.begin("looking at the model for " + pass.name(), layers);
        for (int i = 0; i < layers; i++) {
            try (TensorReader reader = model.checkpoint().reader(model.backend().host());
                    TensorArena arena = model.newBlockArena(i)) {
                BlockVisit visit = visit(i, model.block(i, reader, arena), arena);
                visit.turn(pass, 0, null, false);
                found[i] = pass.survey(visit);
                visit.finish();
            }
            progress.advance(1, model.spec().layers().get(i).prefix());
        }
        progress.end();
        return found;
    }

    /// Gives a pass what it, or an earlier run, found.
    void surveyed(BlockPass pass, double[] found) {
        surveys.put(pass, found);
    }

    void run(int index) {
        try (Loaded loaded = load(index)) {
            DecoderBlock block = loaded.block;
            if (model.checkpoint().isDerived()) {
                block.linears().forEach(layer -> requireFinite(layer, loaded.reader));
            }
            BlockVisit visit = visit(index, block, loaded.arena);
            if (pairs()) {
                visit.keepOriginals();
            }
            for (int p = 0; p < passes.size(); p++) {
                visit.rewind();
                visit.turn(passes.get(p), p, surveys.get(passes.get(p)), goesBack(p));
                passes.get(p).apply(visit);
            }
            visit.finish();
            loadAhead(index + 1);
            Finished done = new Finished(index, visit.block(), loaded.reader, visit.reports());
            listeners.forEach(listener -> listener.finished(done));
        }
    }

    private BlockVisit visit(int index, DecoderBlock block, TensorArena arena) {
        return new BlockVisit(model, plan, sequences, inputs, index, block, arena);
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // who takes the one that was loaded ahead closes it
    private Loaded load(int index) {
        Loaded there = ahead;
        ahead = null;
        if (there != null && there.index == index) {
            return there;
        }
        if (there != null) {
            there.close();
        }
        return new Loaded(index);
    }

    /// What passes put in the place of weights.
    private long replacedBytes(int index) {
        return MemoryPlan.replaced(index, plan, passes, model.checkpoint());
    }

    /// A device has the sequences still before it when its host is done with them.
    @SuppressWarnings("MustBeClosed") // closed by close()
    private void loadAhead(int index) {
        boolean fits =
                index < model.spec().layers().size()
                        && model.blockBytes(index) + replacedBytes(index)
                                <= model.backend().room() / 2;
        if (fits) {
            ahead = new Loaded(index);
        }
    }

    @Override
    public void close() {
        if (ahead != null) {
            ahead.close();
        }
    }

    /// Whether a block's inputs will be wanted again once a pass has moved on from them.
    private boolean goesBack(int p) {
        boolean reshapes = !passes.get(p).sizes(plan.spec(p)).isEmpty();
        return sequences.calibrate() && (reshapes || p < passes.size() - 1);
    }

    /// Whether several passes look into the original's block.
    private boolean pairs() {
        return passes.stream().filter(BlockPass::compares).filter(p -> !p.refines()).count() > 1;
    }

    /// What a view has made of the weights, before anything is computed from them. Those of files
    /// were all looked at before the first block.
    private static void requireFinite(Linear layer, TensorReader reader) {
        String name = layer.name() + ".weight";
        if (layer.weight() instanceof Weight.Dense && reader.checkpoint().has(name)) {
            Finite.requireWritable(name, reader.tensor(name));
        }
    }
}
