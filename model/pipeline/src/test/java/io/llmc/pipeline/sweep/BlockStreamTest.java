// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.pass.BlockPass;
import io.llmc.pipeline.pass.BlockScope;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Random;
import java.util.SequencedMap;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Blocks one after the other: who sees what, and in which order.
class BlockStreamTest {
    @TempDir private Path dir;

    private final Backend backend =
            new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
    private final Checkpoint checkpoint =
            Checkpoint.open(TestFiles.testdata().resolve("tiny-llama"));
    private final List<String> heard = new ArrayList<>();
    private LanguageModel model;
    private HiddenStates states;

    @BeforeEach
    @SuppressWarnings("MustBeClosed") // closed by close()
    void open() {
        model = new LanguageModel(checkpoint, Architectures.specOf(checkpoint), backend);
        Windows windows = Windows.of(new Random(5).ints(64, 0, 200).toArray(), 16);
        states = new HiddenStates(model, windows, null);
        states.embed();
    }

    @AfterEach
    void close() {
        states.close();
        model.close();
        checkpoint.close();
        backend.close();
    }

    /// Multiplies every weight of a block, and says what it was told of it.
    private record Scaling(String name, boolean surveys, float factor, List<String> heard)
            implements BlockPass {
        @Override
        public boolean calibrates() {
            return true;
        }

        @Override
        public Targets targets() {
            return Targets.of(List.of(), List.of());
        }

        @Override
        public SequencedMap<String, Object> describe() {
            return new LinkedHashMap<>();
        }

        @Override
        public long workBytes(long out, long in) {
            return 0;
        }

        @Override
        public double survey(BlockScope scope) {
            heard.add("survey " + scope.index());
            return 10 + scope.index();
        }

        @Override
        public void apply(BlockScope scope) {
            String found = surveys ? " " + scope.survey()[scope.index()] : "";
            heard.add(name + " " + scope.index() + found);
            for (Stage stage : scope.stages()) {
                for (Linear layer : stage.linears()) {
                    Weight w = layer.weight();
                    Tensor values =
                            scope.desk().allocate(DType.F32, w.outFeatures(), w.inFeatures());
                    scope.run(new ForwardOp.Scale(values, ((Weight.Dense) w).values(), factor));
                    scope.replace(layer, new Weight.Dense(values));
                }
                scope.advance(stage);
            }
        }
    }

    private Scaling scaling(String name, boolean surveys, float factor) {
        return new Scaling(name, surveys, factor, heard);
    }

    private BlockStream stream(List<BlockPass> passes, List<BlockStream.Listener> listeners) {
        OutputPlan plan =
                new OutputPlan(
                        checkpoint,
                        model.spec(),
                        new LinkedHashMap<>(),
                        passes,
                        Layouts.named("dense"));
        return new BlockStream(
                model,
                plan,
                passes,
                new Sequences(states, null),
                listeners,
                dir.resolve("inputs.bin"));
    }

    /// The sequences behind every block, with all weights multiplied.
    private List<float[]> expected(float factor) {
        List<float[]> all = new ArrayList<>();
        Windows windows = Windows.of(new Random(5).ints(64, 0, 200).toArray(), 16);
        try (HiddenStates plain = new HiddenStates(model, windows, null)) {
            plain.embed();
            for (int i = 0; i < model.spec().layers().size(); i++) {
                try (TensorReader reader = checkpoint.reader(backend.host());
                        TensorArena arena = model.newBlockArena(i, 1 << 22)) {
                    var block = model.block(i, reader, arena);
                    for (Linear layer : block.linears()) {
                        Weight w = layer.weight();
                        Tensor values =
                                new Desk(backend, arena)
                                        .allocate(DType.F32, w.outFeatures(), w.inFeatures());
                        backend.run(
                                new ForwardOp.Scale(values, ((Weight.Dense) w).values(), factor));
                        layer.replace(new Weight.Dense(values));
                    }
                    plain.prepare(block);
                    block.stages().forEach(plain::advance);
                }
                all.add(all(plain));
            }
        }
        return all;
    }

    private float[] all(HiddenStates s) {
        List<float[]> chunks = new ArrayList<>();
        s.forEach((x, _) -> chunks.add(backend.floats(x)));
        assertThat(chunks).hasSize(1);
        return chunks.getFirst();
    }

    @Test
    void blocksComeInOrderAndEveryListenerHearsOfOneBeforeTheNext() {
        List<BlockStream.Listener> listeners =
                List.of(b -> heard.add("first " + b.index()), b -> heard.add("last " + b.index()));
        try (BlockStream stream = stream(List.of(scaling("pass", false, 1)), listeners)) {
            stream.run(0);
            stream.run(1);
        }
        assertThat(heard)
                .containsExactly("pass 0", "first 0", "last 0", "pass 1", "first 1", "last 1");
    }

    @Test
    void theNextBlockSeesWhatTheCompressedOneGives() {
        List<float[]> expected = expected(0.5f);
        try (BlockStream stream = stream(List.of(scaling("half", false, 0.5f)), List.of())) {
            for (int i = 0; i < expected.size(); i++) {
                stream.run(i);
                assertThat(all(states)).isEqualTo(expected.get(i));
            }
        }
    }

    /// The second pass begins where the block begins, with the weights that the first has left.
    @Test
    void severalPassesOverABlockAreOneStepOfTheSequences() {
        List<float[]> expected = expected(0.25f);
        List<BlockPass> twice = List.of(scaling("a", false, 0.5f), scaling("b", false, 0.5f));
        try (BlockStream stream = stream(twice, List.of())) {
            for (int i = 0; i < expected.size(); i++) {
                stream.run(i);
                assertThat(all(states)).isEqualTo(expected.get(i));
            }
        }
        assertThat(heard.subList(0, 4)).containsExactly("a 0", "b 0", "a 1", "b 1");
    }

    @Test
    void aSurveySeesAllBlocksAsTheyAreAndReachesItsPass() {
        Scaling pass = scaling("told", true, 0.5f);
        List<float[]> before = expected(1);
        try (BlockStream stream = stream(List.of(pass), List.of())) {
            double[] found = stream.survey(pass, Progress.NONE);
            assertThat(all(states)).isEqualTo(before.getLast());
            stream.surveyed(pass, found);
            states.embed();
            stream.run(0);
        }
        assertThat(heard).containsSubsequence("survey 0", "survey 1", "told 0 10.0");
    }
}
