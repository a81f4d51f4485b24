// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.BlockType;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

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

    /// Nor must vectors be loaded from it.
    @ParameterizedTest
    @ValueSource(strings = {"F8_E4M3", "Q8_0"})
    void packedWeightsOfAMappedFileAreCopiedFirst(String encoding, @TempDir Path directory)
            throws IOException {
        int out = 512;
        int in = 512;
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                Arena memory = Arena.ofShared();
                FileChannel channel =
                        FileChannel.open(
                                directory.resolve("weight"),
                                StandardOpenOption.CREATE_NEW,
                                StandardOpenOption.READ,
                                StandardOpenOption.WRITE)) {
            channel.write(ByteBuffer.allocate(1), 2L * out * in);
            MemorySegment bytes =
                    channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), memory);
            Weight w =
                    encoding.equals("Q8_0")
                            ? new Weight.Blocks(
                                    BlockType.Q8_0,
                                    in,
                                    Tensor.of(bytes, DType.U8, out, BlockType.Q8_0.rowBytes(in)))
                            : new Weight.Scaled(
                                    new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.TENSOR),
                                    Tensor.of(bytes, DType.F8_E4M3, out, in),
                                    random(memory, new Random(1), 1, 1));
            Tensor x = random(memory, new Random(1), 3, in);
            Tensor y = Tensor.of(memory.allocate(4L * 3 * out, 64), DType.F32, 3, out);
            backend.run(new ForwardOp.Matmul(y, x, w));
            channel.truncate(4096);
            assertThatThrownBy(() -> backend.run(new ForwardOp.Matmul(y, x, w)))
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
