// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// One layer, 512 x 512, against what IST-DASLab's gptq computed for it. Needs the arrays that its
/// scripts wrote: `LLMC_ORACLES` names the directory.
@Tag("slow")
class LayerOracleTest {
    private static final int N = 512;
    private static final int BLOCK = 128;

    private final Path dir =
            Path.of(System.getenv().getOrDefault("LLMC_ORACLES", "oracles"), "layers", "512x512");
    private Backend backend;
    private TensorArena arena;

    @BeforeEach
    @SuppressWarnings("MustBeClosed") // closed in close()
    void open() {
        assumeThat(dir).isDirectory();
        backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
        arena = backend.newArena(1 << 26);
    }

    @AfterEach
    void close() {
        if (backend != null) {
            arena.close();
            backend.close();
        }
    }

    private Tensor load(String name, long... dims) throws IOException {
        byte[] bytes = Files.readAllBytes(dir.resolve(name + ".npy"));
        int start = 10 + (bytes[8] & 0xff) + ((bytes[9] & 0xff) << 8);
        String header = new String(bytes, 10, start - 10, StandardCharsets.ISO_8859_1);
        var values = ByteBuffer.wrap(bytes, start, bytes.length - start).slice();
        values.order(ByteOrder.LITTLE_ENDIAN);
        Tensor t = arena.allocate(DType.F32, new Shape(dims));
        boolean f64 = header.contains("<f8");
        for (int i = 0; i < t.shape().size(); i++) {
            float v = f64 ? (float) values.getDouble(8 * i) : values.getFloat(4 * i);
            t.bytes().setAtIndex(ValueLayout.JAVA_FLOAT, i, v);
        }
        return t;
    }

    private static double get(Tensor t, long i) {
        return t.dtype() == DType.U8
                ? t.bytes().get(ValueLayout.JAVA_BYTE, i) & 0xff
                : t.bytes().getAtIndex(ValueLayout.JAVA_FLOAT, i);
    }

    private Tensor groupOf(int group) {
        Tensor t = arena.allocate(DType.I32, new Shape(N));
        for (int i = 0; i < N; i++) {
            t.bytes().setAtIndex(ValueLayout.JAVA_INT, i, i / group);
        }
        return t;
    }

    private static double dequantized(
            Tensor codes, Tensor scales, Tensor zeros, int group, int r, int c) {
        long g = (long) r * (N / group) + c / group;
        return (get(codes, (long) r * N + c) - get(zeros, g)) * (float) get(scales, g);
    }

    @Test
    void theHessianIsTheirs() throws IOException {
        Tensor h = arena.allocate(DType.F32, new Shape(N, N));
        Tensor want = load("H_f64", N, N);
        backend.run(new StatisticOp.AccumulateGram(h, load("X", 2048, N), 2f / 8));
        double error = 0;
        double norm = 0;
        for (int i = 0; i < N * N; i++) {
            error += Math.pow(get(h, i) - get(want, i), 2);
            norm += Math.pow(get(want, i), 2);
        }
        assertThat(error / norm).isLessThan(1e-12);
    }

    @ParameterizedTest
    @CsvSource({
        "rtn_b4_g128_asym, 4, 128, false",
        "rtn_b3_g128_asym, 3, 128, false",
        "rtn_b4_g128_sym, 4, 128, true",
        "rtn_b4_row_asym, 4, 512, false"
    })
    void roundingToNearestIsTheirs(String key, int bits, int group, boolean symmetric)
            throws IOException {
        Tensor w = load("W", N, N);
        Tensor want = load(key + "_Q", N, N);
        var spec = Encoding.ints(bits, group, symmetric);
        Tensor scales = arena.allocate(DType.F32, new Shape(N, N / group));
        Tensor zeros = arena.allocate(DType.U8, new Shape(N, N / group));
        Tensor codes = arena.allocate(DType.U8, new Shape(N, N));
        backend.run(
                new CompressionOp.ChooseGrid(
                        scales,
                        zeros,
                        w,
                        null,
                        spec,
                        0,
                        null,
                        0,
                        (int) spec.tiles().across(w.cols())));
        backend.run(new CompressionOp.RoundToGrid(codes, null, w, scales, zeros, spec));
        int different = 0;
        for (int r = 0; r < N; r++) {
            for (int c = 0; c < N; c++) {
                float q = (float) dequantized(codes, scales, zeros, group, r, c);
                different += q == (float) get(want, (long) r * N + c) ? 0 : 1;
            }
        }
        assertThat(different).isZero();
    }

    /// With their grids, chosen inside the loop where groups are not static, the codes are theirs.
    @ParameterizedTest
    @CsvSource({
        "gptq_b4_g128_asym, 4, 128",
        "gptq_b4_g128_sym, 4, 128",
        "gptq_b3_g128_asym, 3, 128",
        "gptq_b4_row_asym, 4, 512",
        "gptq_b4_g128_asym_mse, 4, 128"
    })
    void gptqWithTheirGridsIsTheirs(String key, int bits, int group) throws IOException {
        Tensor w = load("W", N, N);
        Tensor h = load("H_f64", N, N);
        Tensor want = load(key + "_Q", N, N);
        Tensor scales = load(key + "_scale", N, N / group);
        Tensor theirZeros = load(key + "_zero", N, N / group);
        Tensor zeros = arena.allocate(DType.U8, theirZeros.shape());
        for (int i = 0; i < N * N / group; i++) {
            zeros.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) get(theirZeros, i));
        }
        double mean = 0;
        for (int i = 0; i < N; i++) {
            mean += get(h, (long) i * N + i) / N;
        }
        Tensor u = arena.allocate(DType.F32, new Shape(N, N));
        Tensor status = arena.allocate(DType.I32, new Shape(1));
        backend.run(new StatisticOp.CholeskyInverse(u, status, h, (float) (0.01 * mean)));
        assertThat(status.bytes().get(ValueLayout.JAVA_INT, 0)).isZero();
        Tensor codes = arena.allocate(DType.U8, new Shape(N, N));
        Tensor errors = arena.allocate(DType.F32, new Shape(N, BLOCK));
        Tensor groups = groupOf(group);
        var spec = Encoding.ints(bits, group, false);
        for (int from = 0; from < N; from += BLOCK) {
            backend.run(
                    new CompressionOp.AccumulateObsBlock(
                            errors,
                            w,
                            u,
                            new CompressionOp.AccumulateObsBlock.Grid(
                                    codes, scales, zeros, groups, spec),
                            null,
                            from,
                            from + BLOCK));
            backend.run(new CompressionOp.AccumulateObsSpread(w, errors, u, from, from + BLOCK));
        }
        int different = 0;
        for (int r = 0; r < N; r++) {
            for (int c = 0; c < N; c++) {
                double q = dequantized(codes, scales, zeros, group, r, c);
                double scale = get(scales, (long) r * (N / group) + c / group);
                different += Math.abs(q - get(want, (long) r * N + c)) < scale / 2 ? 0 : 1;
            }
        }
        assertThat(different / (double) (N * N)).isLessThan(0.002);
    }
}
