// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Desk;
import io.llmc.backend.TensorArena;
import io.llmc.formats.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LanguageModel;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Replacement;
import io.llmc.model.Stage;
import io.llmc.model.Tap;
import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.ArrayList;
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
    private final HiddenStates states;
    private final BlockOutput output;
    private final Path scratchFile;
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
                arena = model.newBlockArena(index);
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

    /// What becomes of a finished block while its weights are still in memory.
    interface BlockOutput {
        void write(int index, DecoderBlock block, TensorReader reader, List<ModuleReport> reports);

        /// A layer's new weight as a reader of the output will see it.
        Weight asWritten(String linear, Weight weight, TensorArena arena);

        int minZero(BlockPass pass);
    }

    /// @param states null where no pass calibrates
    /// @param scratchFile holds a block's inputs while several passes work on it
    BlockStream(
            LanguageModel model,
            OutputPlan plan,
            List<BlockPass> passes,
            HiddenStates states,
            BlockOutput output,
            Path scratchFile) {
        this.model = model;
        this.plan = plan;
        this.passes = passes;
        this.states = states;
        this.output = output;
        this.scratchFile = scratchFile;
    }

    /// Lets a pass look at every block as it is. The sequences end behind the last one.
    double[] survey(BlockPass pass, Progress progress) {
        int layers = model.spec().layers().size();
        double[] found = new double[layers];
        progress.begin("looking at the model for " + pass.name(), layers);
        for (int i = 0; i < layers; i++) {
            try (TensorReader reader = model.checkpoint().reader(model.backend().host());
                    TensorArena arena = model.newBlockArena(i)) {
                Trip trip = new Trip(i, model.block(i, reader, arena), arena, new ArrayList<>());
                trip.prepare();
                found[i] = pass.survey(new Scope(trip, pass, model.spec(), null));
                trip.finish();
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
            block.linears().forEach(layer -> requireFinite(layer, loaded.reader));
            List<ModuleReport> reports = new ArrayList<>();
            Trip trip = new Trip(index, block, loaded.arena, reports);
            trip.prepare();
            if (goesBack()) {
                trip.keepInputs();
            }
            for (int p = 0; p < passes.size(); p++) {
                trip.rewind();
                BlockPass pass = passes.get(p);
                pass.apply(new Scope(trip, pass, plan.spec(p), plan.spec(p + 1)));
            }
            trip.finish();
            loadAhead(index + 1);
            output.write(index, trip.block, loaded.reader, reports);
        }
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

    /// A device has the sequences still before it when its host is done with them.
    @SuppressWarnings("MustBeClosed") // closed by close()
    private void loadAhead(int index) {
        boolean fits =
                index < model.spec().layers().size()
                        && model.blockBytes(index) <= model.backend().room() / 2;
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

    /// Whether a block's inputs will be wanted a second time.
    private boolean goesBack() {
        int first = 0;
        while (first < passes.size() && !passes.get(first).calibrates()) {
            first++;
        }
        return states != null && (plan.reshapes() || first < passes.size() - 1);
    }

    /// What a view has made of the weights, before anything is computed from them.
    private static void requireFinite(Linear layer, TensorReader reader) {
        String name = layer.name() + ".weight";
        if (layer.weight() instanceof Weight.Dense && reader.checkpoint().has(name)) {
            Finite.requireWritable(name, reader.tensor(name));
        }
    }

    /// A block under work, and how far into it the sequences are.
    private final class Trip {
        private final int index;
        private final TensorArena arena;
        private final List<ModuleReport> reports;
        private DecoderBlock block;
        private int advanced;
        private boolean marked;

        Trip(int index, DecoderBlock block, TensorArena arena, List<ModuleReport> reports) {
            this.index = index;
            this.block = block;
            this.arena = arena;
            this.reports = reports;
        }

        void prepare() {
            if (states != null) {
                states.prepare(block);
            }
        }

        /// For [#rewind]: on the device where the sequences are there, else in a file.
        void keepInputs() {
            marked = states.resident();
            if (marked) {
                states.mark();
            } else {
                states.saveTo(scratchFile);
            }
        }

        /// Puts the sequences before the block again.
        void rewind() {
            if (advanced == 0) {
                return;
            }
            if (marked) {
                states.rewind();
                states.mark();
            } else if (!states.restore(scratchFile)) {
                throw new IllegalStateException(scratchFile + " is damaged");
            }
            advanced = 0;
        }

        void advance(Stage stage) {
            states.advance(stage);
            advanced++;
        }

        /// Puts the sequences behind the block.
        void finish() {
            if (states != null) {
                states.advance(block.stages().subList(advanced, block.stages().size()));
            }
        }
    }

    /// A pass's view of one block. Stages are advanced in order, each once.
    private final class Scope implements BlockScope {
        private final Trip trip;
        private final BlockPass pass;
        private final ModelSpec spec;
        private final ModelSpec promised;

        /// @param spec before the pass
        /// @param promised after it
        Scope(Trip trip, BlockPass pass, ModelSpec spec, ModelSpec promised) {
            this.trip = trip;
            this.pass = pass;
            this.spec = spec;
            this.promised = promised;
        }

        @Override
        public int index() {
            return trip.index;
        }

        @Override
        public DecoderBlock block() {
            return trip.block;
        }

        @Override
        public ModelSpec spec() {
            return spec;
        }

        @Override
        public boolean selected(Linear layer) {
            return plan.selects(pass, layer.name());
        }

        @Override
        public Desk desk() {
            return new Desk(model.backend(), trip.arena);
        }

        @Override
        public DType scaleDtype(Linear layer) {
            return plan.scaleDtype(layer.name());
        }

        @Override
        public int minZero() {
            return output.minZero(pass);
        }

        @Override
        public double[] survey() {
            return surveys.get(pass);
        }

        @Override
        public void replace(Linear layer, Weight weight) {
            layer.replace(output.asWritten(layer.name(), weight, trip.arena));
        }

        @Override
        public Replacement replacement() {
            return new Replacement(trip.block, model.checkpoint().directory());
        }

        @Override
        public void reshape(Replacement parameters) {
            trip.rewind();
            trip.block = model.block(promised.layers().get(trip.index), parameters);
            for (Linear linear : trip.block.linears()) {
                replace(linear, linear.weight());
            }
            trip.prepare();
        }

        @Override
        public int sequenceLength() {
            return states.windows().length();
        }

        @Override
        public void observe(Stage stage, Tap tap) {
            requireNext(stage);
            states.observe(stage, tap);
        }

        @Override
        public void advance(Stage stage) {
            requireNext(stage);
            trip.advance(stage);
        }

        private void requireNext(Stage stage) {
            if (states == null || !trip.block.stages().get(trip.advanced).equals(stage)) {
                throw new IllegalStateException(
                        pass.name() + " must observe and advance the stages of a block in order");
            }
        }

        @Override
        public void report(ModuleReport report) {
            trip.reports.add(report);
        }
    }
}
