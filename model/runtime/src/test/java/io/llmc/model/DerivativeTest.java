// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Gradients with respect to what the first block reads, of models for which PyTorch's are not at
/// hand: along random directions they are what the output changes by.
class DerivativeTest {
    private static final int LENGTH = 8;
    private static final double STEP = 2e-3;

    static Stream<Path> checkpoints() {
        return Stream.of(
                        "deepseek_v2",
                        "deepseek_v2_lite",
                        "longcat_flash",
                        "gemma4",
                        "gemma3n_text",
                        "deepseek_v4")
                .map(name -> TestFiles.shared("oracles/architectures").resolve(name));
    }

    @ParameterizedTest
    @MethodSource("checkpoints")
    void alongDirections(Path directory) {
        assumeTrue(Files.exists(directory), "no " + directory + " here: skipped");
        try (Checkpoint c = Checkpoint.open(directory);
                Backend backend =
                        new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                TensorReader reader = c.reader();
                TensorArena arena = backend.newArena(1L << 28);
                Arena host = Arena.ofConfined();
                LanguageModel model = new LanguageModel(c, Architectures.specOf(c), backend)) {
            ModelSpec spec = model.spec();
            List<DecoderBlock> blocks =
                    IntStream.range(0, spec.layers().size())
                            .mapToObj(i -> model.block(i, reader, arena))
                            .toList();
            Positions positions = Positions.of(spec, LENGTH, backend, arena);
            MemorySegment ids =
                    host.allocateFrom(
                            ValueLayout.JAVA_INT,
                            IntStream.range(0, LENGTH).map(i -> 3 + 7 * i % 50).toArray());
            Tensor x = model.embed(new Forward(backend, arena, positions), ids);
            Tensor dx = arena.allocate(DType.F32, x.shape());
            backend.run(new ForwardOp.Zero(dx));
            Tape tape = new Tape(backend, arena, List.of());
            tape.source(x, dx);
            Forward taped = new Forward(backend, tape, tape.kept(), positions, Tap.NONE, false);
            Tensor end = end(taped, model, blocks, x);
            Random random = new Random(1);
            float[] weights = normal(random, (int) end.shape().size());
            backend.upload(tape.gradient(end), host.allocateFrom(ValueLayout.JAVA_FLOAT, weights));
            tape.backward();
            float[] gradient = backend.floats(dx);
            float[] values = backend.floats(x);
            for (int k = 0; k < 8; k++) {
                float[] direction = normal(random, values.length);
                double slope = 0;
                for (int i = 0; i < values.length; i++) {
                    // A token's number is none that a gradient goes to.
                    boolean token = i % x.cols() == spec.rows().token() && i % x.cols() > 0;
                    direction[i] *= token ? 0 : 1 / 30f;
                    slope += (double) gradient[i] * direction[i];
                }
                double[] sums = new double[2];
                for (int side = 0; side < 2; side++) {
                    float[] moved = values.clone();
                    for (int i = 0; i < moved.length; i++) {
                        moved[i] += (float) ((side == 0 ? STEP : -STEP) * direction[i]);
                    }
                    try (TensorArena scratch = arena.scratch()) {
                        Tensor y = scratch.allocate(DType.F32, x.shape());
                        backend.upload(y, host.allocateFrom(ValueLayout.JAVA_FLOAT, moved));
                        Forward f = new Forward(backend, scratch, positions);
                        float[] out = backend.floats(end(f, model, blocks, y));
                        for (int i = 0; i < out.length; i++) {
                            sums[side] += (double) out[i] * weights[i];
                        }
                    }
                }
                double measured = (sums[0] - sums[1]) / (2 * STEP);
                // What F32 loses in the difference is about a hundredth.
                assertThat(Math.abs(slope - measured) / (Math.abs(measured) + 0.3))
                        .as("%s along %d", directory.getFileName(), k)
                        .isLessThan(0.04);
            }
        }
    }

    private static Tensor end(Forward f, LanguageModel model, List<DecoderBlock> blocks, Tensor x) {
        Tensor row = x;
        for (DecoderBlock block : blocks) {
            row = block.forward(f, row);
        }
        Tensor normed = f.allocate(row.rows(), model.spec().input().width());
        model.finalNorm(f, normed, row);
        return normed;
    }

    private static float[] normal(Random random, int count) {
        float[] all = new float[count];
        for (int i = 0; i < count; i++) {
            all[i] = (float) random.nextGaussian();
        }
        return all;
    }
}
