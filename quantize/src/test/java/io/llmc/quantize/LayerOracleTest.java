// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.CompressionOp.GridSearch;
import io.llmc.backend.Desk;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.GridSpec;
import io.llmc.formats.TestFiles;
import io.llmc.solver.Factor;
import io.llmc.solver.Npy;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// One layer against what the reference implementation (IST-DASLab/gptq, untouched) made of it.
class LayerOracleTest {
    private static final GridSearch REFERENCE_MSE = new GridSearch(80, 100, 2.4f, false);

    private Path oracles;
    private float[] w;
    private float[] h;

    @BeforeEach
    void read() {
        oracles = TestFiles.shared("oracles/layers/512x512");
        assumeTrue(Files.isDirectory(oracles), "no ../shared/oracles: skipped");
        w = Npy.read(oracles.resolve("W.npy")).values();
        h = Npy.read(oracles.resolve("H_f64.npy")).values();
    }

    @ParameterizedTest
    @CsvSource({
        "b4_g128_asym,4,128,false,NONE,false",
        "b4_g128_sym,4,128,true,NONE,false",
        "b4_g128_asym_act,4,128,false,GROUP,false",
        "b4_g128_asym_act_static,4,128,false,STATIC,false",
        "b4_g128_sym_act_static,4,128,true,STATIC,false",
        "b4_row_asym,4,-1,false,NONE,false",
        "b3_g128_asym,3,128,false,NONE,false",
        "b4_g128_asym_mse,4,128,false,NONE,true",
    })
    void gptqRoundsAsTheReference(
            String key, int bits, int group, boolean symmetric, ActOrder order, boolean mse) {
        float[] want = Npy.read(oracles.resolve("gptq_" + key + "_Q.npy")).values();
        var spec = Encoding.ints(bits, group, symmetric);
        var settings =
                new GptqMath.Settings(
                        order, 128, mse ? REFERENCE_MSE : null, false, null, false, 0);
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1 << 26)) {
            Desk d = new Desk(backend, arena);
            Tensor hessian = put(backend, arena, h);
            Weight dense = new Weight.Dense(put(backend, arena, w));
            Factor factor = Factor.of(d, hessian, 0.01, order != ActOrder.NONE);
            GptqMath.Result result =
                    GptqMath.quantize(
                            d,
                            dense,
                            WeightGrid.allocate(d, new GridSpec<>(spec, DType.F32, 0), dense, null),
                            hessian,
                            factor,
                            settings);
            float[] got = values(backend, arena, result.weight());
            assertThat(share(want, got)).as("identical weights").isGreaterThan(0.998);
            assertThat(squaredError(got) / squaredError(want))
                    .as("output error")
                    .isBetween(0.999, 1.001);
            assertThat(result.error()).isCloseTo(squaredError(got) / squaredNorm(), percent(0.1));
            assertThat(result.error()).isLessThan(result.rtnError());
        }
    }

    private static org.assertj.core.data.Percentage percent(double p) {
        return org.assertj.core.data.Percentage.withPercentage(p);
    }

    @ParameterizedTest
    @CsvSource({
        "b4_g128_asym,4,128,false",
        "b4_g128_sym,4,128,true",
        "b4_row_asym,4,-1,false",
        "b3_g128_asym,3,128,false"
    })
    void rtnIsIdentical(String key, int bits, int group, boolean symmetric) {
        float[] want = Npy.read(oracles.resolve("rtn_" + key + "_Q.npy")).values();
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                TensorArena arena = backend.newArena(1 << 26)) {
            Desk d = new Desk(backend, arena);
            Weight dense = new Weight.Dense(put(backend, arena, w));
            var spec = new GridSpec<>(Encoding.ints(bits, group, symmetric), DType.F32, 0);
            WeightGrid grid = WeightGrid.allocate(d, spec, dense, null);
            RtnMath.Result result = RtnMath.quantize(d, dense, grid, null, null, false);
            float[] got = values(backend, arena, result.weight());
            assertThat(share(want, got)).isEqualTo(1);
        }
    }

    private static Tensor put(Backend backend, TensorArena arena, float[] values) {
        Tensor t = arena.allocate(DType.F32, new Shape(512, 512));
        try (Arena host = Arena.ofConfined()) {
            backend.upload(t, host.allocateFrom(ValueLayout.JAVA_FLOAT, values));
        }
        return t;
    }

    private static float[] values(Backend backend, TensorArena arena, Weight q) {
        Tensor t = arena.allocate(DType.F32, new Shape(512, 512));
        backend.run(new CompressionOp.Dequantize(t, q));
        return backend.floats(t);
    }

    /// Equal up to the rounding of the product of a code and its scale.
    private static double share(float[] want, float[] got) {
        int same = 0;
        for (int i = 0; i < want.length; i++) {
            same += Math.abs(want[i] - got[i]) <= 1e-6 ? 1 : 0;
        }
        return (double) same / want.length;
    }

    /// `tr((Q - W) H (Q - W)^T)`, in double precision.
    private double squaredError(float[] q) {
        double[] e = new double[q.length];
        for (int i = 0; i < e.length; i++) {
            e[i] = (double) q[i] - w[i];
        }
        return form(e);
    }

    private double squaredNorm() {
        double[] e = new double[w.length];
        for (int i = 0; i < e.length; i++) {
            e[i] = w[i];
        }
        return form(e);
    }

    private double form(double[] e) {
        double total = 0;
        double[] he = new double[512];
        for (int o = 0; o < 512; o++) {
            java.util.Arrays.fill(he, 0);
            for (int i = 0; i < 512; i++) {
                double f = e[o * 512 + i];
                for (int j = 0; j < 512; j++) {
                    he[j] += f * h[i * 512 + j];
                }
            }
            for (int j = 0; j < 512; j++) {
                total += he[j] * e[o * 512 + j];
            }
        }
        return total;
    }
}
