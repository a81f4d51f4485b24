// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.Backend;
import io.llmc.backend.Op;
import io.llmc.backend.TensorArena;
import io.llmc.formats.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LanguageModel;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Stage;
import io.llmc.model.Tap;
import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/// One trip over a model's blocks: load, let every pass work, move the calibration sequences
/// through what the passes left, hand the block on, free it.
///
/// The order of GPTQ's own loop over layers (IST-DASLab/gptq, llama_sequential): outputs of
/// compressed blocks feed the blocks after them.
final class BlockStream {
    private final LanguageModel model;
    private final List<BlockPass> passes;
    private final HiddenStates states;
    private final BlockOutput output;
    private final DType scaleDtype;
    private final Path scratchFile;

    /// What becomes of a finished block while its weights are still in memory.
    interface BlockOutput {
        /// May put other spellings of its weights into the block.
        void write(int index, DecoderBlock block, TensorReader reader, List<ModuleReport> reports);

        int minZero(BlockPass pass);
    }

    /// @param states null where no pass calibrates
    /// @param scratchFile holds a block's inputs while several calibrating passes work on it
    BlockStream(
            LanguageModel model,
            List<BlockPass> passes,
            HiddenStates states,
            BlockOutput output,
            DType scaleDtype,
            Path scratchFile) {
        this.model = model;
        this.passes = passes;
        this.states = states;
        this.output = output;
        this.scaleDtype = scaleDtype;
        this.scratchFile = scratchFile;
    }

    /// Device memory that a block and what replaces its weights take at most.
    static long blockBytes(LanguageModel model, int index) {
        ModelSpec spec = model.spec();
        String prefix = spec.layers().get(index).prefix();
        // Replaced weights are never larger than F32; the host's pages are only taken once touched.
        return model.checkpoint().names().stream()
                        .filter(name -> name.startsWith(prefix))
                        .map(name -> model.checkpoint().info(name))
                        .mapToLong(info -> info.shape().size() * 8 + 1024)
                        .sum()
                + (1 << 16);
    }

    void run(int index) {
        try (TensorReader reader = model.checkpoint().reader();
                TensorArena arena = model.backend().newArena(blockBytes(model, index))) {
            DecoderBlock block = model.block(index, reader, arena);
            block.linears().forEach(BlockStream::requireFinite);
            if (states != null) {
                states.prepare(block);
            }
            List<ModuleReport> reports = new ArrayList<>();
            long calibrating = passes.stream().filter(BlockPass::calibrates).count();
            Scope last = null;
            for (BlockPass pass : passes) {
                if (pass.calibrates() && calibrating > 1 && last == null) {
                    states.saveTo(scratchFile);
                } else if (pass.calibrates() && last != null) {
                    states.restore(scratchFile);
                }
                Scope scope = new Scope(index, block, pass, arena, reports::add);
                pass.apply(scope);
                if (pass.calibrates()) {
                    last = scope;
                }
            }
            if (states != null) {
                int done = last == null ? 0 : last.advanced;
                states.advance(block.stages().subList(done, block.stages().size()));
            }
            output.write(index, block, reader, reports);
        }
    }

    private static void requireFinite(Linear layer) {
        if (layer.weight() instanceof Weight.Dense(var values)
                && values.buffer().device().equals("cpu")) {
            Finite.require(layer.name() + ".weight", values);
        }
    }

    /// A pass's view of one block. Stages are advanced in order, each once.
    private final class Scope implements BlockScope {
        private final int index;
        private final DecoderBlock block;
        private final BlockPass pass;
        private final TensorArena arena;
        private final Consumer<ModuleReport> reports;
        private int advanced;

        Scope(
                int index,
                DecoderBlock block,
                BlockPass pass,
                TensorArena arena,
                Consumer<ModuleReport> reports) {
            this.index = index;
            this.block = block;
            this.pass = pass;
            this.arena = arena;
            this.reports = reports;
        }

        @Override
        public int index() {
            return index;
        }

        @Override
        public List<Stage> stages() {
            return block.stages();
        }

        @Override
        public boolean selected(Linear layer) {
            return pass.targets().selects(layer.name());
        }

        @Override
        public void run(Op op) {
            model.backend().run(op);
        }

        @Override
        public Backend backend() {
            return model.backend();
        }

        @Override
        public TensorArena arena() {
            return arena;
        }

        @Override
        public DType scaleDtype() {
            return scaleDtype;
        }

        @Override
        public int minZero() {
            return output.minZero(pass);
        }

        @Override
        public void observe(Stage stage, Tap tap) {
            requireNext(stage);
            states.observe(stage, tap);
        }

        @Override
        public void advance(Stage stage) {
            requireNext(stage);
            states.advance(stage);
            advanced++;
        }

        private void requireNext(Stage stage) {
            if (states == null || !block.stages().get(advanced).equals(stage)) {
                throw new IllegalStateException(
                        pass.name() + " must observe and advance the stages of a block in order");
            }
        }

        @Override
        public void report(ModuleReport report) {
            reports.accept(report);
        }
    }
}
