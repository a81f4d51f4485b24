// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.Stage;
import io.llmc.model.Tap;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Replacement;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HiddenStatesTest {
    private static final int LENGTH = 512;

    /// From several chunks, from one twice, against their order.
    @Test
    @SuppressWarnings("MustBeClosed") // all are resources of the try
    void gatheredWindowsAreThoseThatWereAskedFor() {
        Windows windows = Windows.of(new Random(2).ints(10 * LENGTH, 0, 1024).toArray(), LENGTH);
        int[] chosen = {9, 0, 5, 4, 7, 0};
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tale-llama"));
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(model, windows, null);
                TensorArena arena = backend.newArena(16L << 20)) {
            states.embed();
            assertThat(states.chunks()).isEqualTo(3);
            int hidden = model.spec().hidden();
            float[][] all = new float[windows.count()][];
            states.forEach((x, chunk) -> {
                float[] rows = backend.floats(x);
                int window = LENGTH * hidden;
                for (int w = 0; w * window < rows.length; w++) {
                    all[states.firstWindow(chunk) + w] =
                            Arrays.copyOfRange(rows, w * window, (w + 1) * window);
                }
            });
            Tensor out =
                    arena.allocate(DType.F32, new Shape((long) chosen.length * LENGTH, hidden));
            states.gather(chosen, out);
            for (int i = 0; i < chosen.length; i++) {
                Tensor rows = out.rows((long) i * LENGTH, (i + 1L) * LENGTH);
                assertThat(backend.floats(rows)).isEqualTo(all[chosen[i]]);
            }
        }
    }

    @TempDir Path temp;

    /// What a stage hands on may be what it was given, in another place: the input of parallel
    /// branches.
    @ParameterizedTest
    @ValueSource(strings = {"tiny-gpt_neox", "tiny-llama", "tiny-mixtral"})
    @SuppressWarnings("MustBeClosed") // all are resources of the try
    void stageByStageTheStatesAreThoseOfWholeBlocks(String name) {
        Windows windows = Windows.of(new Random(3).ints(96, 0, 256).toArray(), 24);
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve(name));
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates whole = new HiddenStates(model, windows, null);
                HiddenStates inMemory = new HiddenStates(model, windows, null);
                HiddenStates onDisk = new HiddenStates(model, windows, temp)) {
            whole.embed();
            for (int i = 0; i < model.spec().layers().size(); i++) {
                whole.advance(i);
            }
            float[] expected = only(whole, backend);
            for (HiddenStates states : List.of(inMemory, onDisk)) {
                states.embed();
                stageByStage(model, states);
                assertThat(only(states, backend)).isEqualTo(expected);
            }
        }
    }

    @SuppressWarnings("MustBeClosed") // both are resources of the try
    private static void stageByStage(LanguageModel model, HiddenStates states) {
        for (int i = 0; i < model.spec().layers().size(); i++) {
            try (TensorReader reader = model.checkpoint().reader(model.backend().host());
                    TensorArena arena = model.newBlockArena(i)) {
                DecoderBlock block = model.block(i, reader, arena);
                states.prepare(block);
                block.stages().forEach(states::advance);
            }
        }
    }

    /// Against the difference of two blocks, of which one has the other weight.
    @Test
    @SuppressWarnings("MustBeClosed") // all are resources of the try
    void aTrialCostsWhatItWouldChange() {
        Windows windows = Windows.of(new Random(3).ints(96, 0, 256).toArray(), 24);
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tiny-gpt_neox"));
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(model, windows, null);
                TensorReader reader = c.reader();
                TensorArena arena = model.newBlockArena(0)) {
            DecoderBlock block = model.block(0, reader, arena);
            states.embed();
            states.prepare(block);
            Linear first = block.linears().getFirst();
            Weight other = halved(first.weight(), backend, arena);
            double found;
            try (Sample sample = states.sample(block, 96, true);
                    Sample.Stretch stretch =
                            sample.stretch(block.stages().getFirst(), block.stages().getLast())) {
                Replacement changed = new Replacement(block, temp);
                changed.put(first.name(), other);
                int hidden = model.spec().hidden();
                found = stretch.error(LanguageModel.block(block.spec(), hidden, changed));
                assertThat(stretch.error(block)).isZero();
            }
            states.saveTo(temp.resolve("states"));
            states.advance(block.stages());
            float[] now = only(states, backend);
            first.replace(other);
            states.restore(temp.resolve("states"));
            states.advance(block.stages());
            float[] then = only(states, backend);
            double expected = 0;
            for (int i = 0; i < now.length; i++) {
                expected += Math.pow((double) then[i] - now[i], 2);
            }
            assertThat(expected).isGreaterThan(1);
            assertThat(found).isCloseTo(expected, Offset.offset(1e-9 * expected));
        }
    }

    /// One of three sequences goes where all of them go.
    @ParameterizedTest
    @ValueSource(strings = {"tiny-gpt_neox", "tiny-mixtral"})
    @SuppressWarnings("MustBeClosed") // all are resources of the try
    void aSampleGoesTheWayOfItsSequences(String name) {
        Windows windows = Windows.of(new Random(3).ints(72, 0, 256).toArray(), 24);
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve(name));
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(model, windows, null);
                TensorReader reader = c.reader();
                TensorArena arena = model.newBlockArena(0)) {
            DecoderBlock block = model.block(0, reader, arena);
            states.embed();
            states.prepare(block);
            float[] sampled;
            try (Sample sample = states.sample(block, 30, true)) {
                block.stages().forEach(sample::advance);
                sampled = backend.floats(sample.x());
            }
            states.advance(block.stages());
            float[] all = only(states, backend);
            assertThat(sampled)
                    .isEqualTo(Arrays.copyOf(all, sampled.length))
                    .hasSize(all.length / 3);
        }
    }

    /// One of more tokens than move together goes in two chunks, and shows each token once.
    @Test
    @SuppressWarnings("MustBeClosed") // all are resources of the try
    void aLargeSampleGoesInChunks() {
        int length = 24;
        int count = HiddenStates.windowsPerChunk(length) + 1;
        int tokens = count * length;
        Windows windows = Windows.of(new Random(3).ints(tokens, 0, 256).toArray(), length);
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                Checkpoint c = Checkpoint.open(TestFiles.testdata().resolve("tiny-mixtral"));
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend);
                HiddenStates states = new HiddenStates(model, windows, null);
                TensorReader reader = c.reader();
                TensorArena arena = model.newBlockArena(0)) {
            DecoderBlock block = model.block(0, reader, arena);
            states.embed();
            states.prepare(block);
            float[] sampled;
            try (Sample sample = states.sample(block, tokens, false)) {
                assertThat(sample.chunks()).isEqualTo(2);
                Stage first = block.stages().getFirst();
                Linear one = first.linears().getFirst();
                List<Long> observed = rowsShown(one, tap -> sample.observe(first, tap));
                List<Long> advanced = rowsShown(one, tap -> sample.advance(first, tap));
                assertThat(observed).containsExactly((long) tokens - length, (long) length);
                assertThat(advanced).isEqualTo(observed);
                block.stages().stream().skip(1).forEach(sample::advance);
                sampled = backend.floats(sample.x());
            }
            states.advance(block.stages());
            assertThat(states.chunks()).isEqualTo(2);
            int chunk = (tokens - length) * states.width();
            states.forEach((x, i) ->
                    assertThat(backend.floats(x))
                            .isEqualTo(
                                    Arrays.copyOfRange(
                                            sampled, i * chunk, i == 0 ? chunk : sampled.length)));
        }
    }

    private static List<Long> rowsShown(Linear layer, Consumer<Tap> pass) {
        List<Long> rows = new ArrayList<>();
        pass.accept((layers, x) -> {
            if (layers.contains(layer)) {
                rows.add(x.rows());
            }
        });
        return rows;
    }

    private static Weight halved(Weight w, Backend backend, TensorArena arena) {
        Tensor values = ((Weight.Dense) w).values();
        Tensor half = arena.allocate(DType.F32, values.shape());
        backend.run(new ForwardOp.Scale(half, values, 0.5f));
        return new Weight.Dense(half);
    }

    private static float[] only(HiddenStates states, Backend backend) {
        float[][] rows = new float[1][];
        states.forEach((x, _) -> rows[0] = backend.floats(x));
        return rows[0];
    }
}
