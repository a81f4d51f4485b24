// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/// Weights that lie in a mapped file.
class MappedWeightsTest {
    /// Native code must not read a mapped file: it may become shorter.
    @ParameterizedTest
    @EnumSource(names = {"ONEDNN", "PORTABLE"})
    void transposedWeightsOfAMappedFileAreCopiedFirst(
            BackendOptions.Math math, @TempDir Path directory) throws IOException {
        int rows = 192;
        int out = 256;
        int in = 512;
        Random random = new Random(1);
        Path file = directory.resolve("weight");
        try (Backend backend = new CpuBackend(new BackendOptions(2, math));
                Arena memory = Arena.ofShared();
                FileChannel channel =
                        FileChannel.open(
                                file,
                                StandardOpenOption.CREATE,
                                StandardOpenOption.READ,
                                StandardOpenOption.WRITE)) {
            Tensor own = random(memory, random, out, in);
            channel.write(own.bytes().asByteBuffer());
            Tensor mapped =
                    Tensor.of(
                            channel.map(FileChannel.MapMode.READ_ONLY, 0, own.byteSize(), memory),
                            DType.F32,
                            out,
                            in);
            Tensor gradient = random(memory, random, rows, out);
            Tensor expected = Tensor.of(memory.allocate(4L * rows * in, 64), DType.F32, rows, in);
            Tensor actual = Tensor.of(memory.allocate(4L * rows * in, 64), DType.F32, rows, in);
            run(backend, expected, gradient, own);
            run(backend, actual, gradient, mapped);
            assertThat(actual.bytes().mismatch(expected.bytes())).isEqualTo(-1);
            channel.truncate(4096);
            assertThatThrownBy(() -> run(backend, actual, gradient, mapped))
                    .isInstanceOf(InternalError.class);
        }
    }

    private static void run(Backend backend, Tensor dx, Tensor dout, Tensor weight) {
        backend.run(new GradientOp.AccumulateMatmulInput(dx, dout, new Weight.Dense(weight)));
    }

    private static Tensor random(Arena memory, Random random, long rows, long cols) {
        MemorySegment bytes = memory.allocate(4 * rows * cols, 64);
        for (long i = 0; i < rows * cols; i++) {
            bytes.setAtIndex(ValueLayout.JAVA_FLOAT, i, random.nextFloat() - 0.5f);
        }
        return Tensor.of(bytes, DType.F32, rows, cols);
    }
}
