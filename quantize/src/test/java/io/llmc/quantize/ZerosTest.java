// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.GridSpec;
import io.llmc.solver.Factor;
import io.llmc.solver.Pattern;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/// GPTQ on weights that are, or become, sparse.
class ZerosTest {
    private static final int OUT = 40;
    private static final int IN = 192;

    private Backend backend;
    private TensorArena arena;
    private float[] weights;
    private Tensor hessian;

    @BeforeEach
    @SuppressWarnings("MustBeClosed") // closed by close()
    void open() {
        backend = new CpuBackend(BackendOptions.defaults());
        arena = backend.newArena(1 << 26);
        Random random = new Random(3);
        weights = new float[OUT * IN];
        for (int i = 0; i < weights.length; i++) {
            weights[i] = (float) random.nextGaussian();
        }
        float[] x = new float[400 * IN];
        for (int t = 0; t < 400; t++) {
            for (int i = 0; i < IN; i++) {
                // Inputs that have much to do with each other, so that errors can be spread.
                float before = i == 0 ? 0 : x[t * IN + i - 1];
                x[t * IN + i] = (float) (0.8 * before + random.nextGaussian());
            }
        }
        hessian = matrix(IN, IN);
        backend.run(new ForwardOp.Zero(hessian));
        backend.run(new StatisticOp.AccumulateGram(hessian, put(x, 400, IN), 1));
    }

    @AfterEach
    void close() {
        arena.close();
        backend.close();
    }

    private Tensor matrix(long rows, long cols) {
        return arena.allocate(DType.F32, new Shape(rows, cols));
    }

    private Tensor put(float[] values, long rows, long cols) {
        return new Desk(backend, arena).floats(values).reshape(rows, cols);
    }

    private GptqMath.Result quantize(
            float[] w,
            Encoding.Grid<Codes.Ints> spec,
            ActOrder order,
            Pattern pattern,
            boolean keepZeros) {
        var settings =
                new GptqMath.Settings(
                        order, 64, CompressionOp.GridSearch.DEFAULT, true, pattern, keepZeros, 0);
        Desk desk = new Desk(backend, arena);
        Factor factor = Factor.of(desk, hessian, 0.01, order != ActOrder.NONE);
        Weight dense = new Weight.Dense(put(w, OUT, IN));
        var grid = WeightGrid.allocate(desk, new GridSpec<>(spec, DType.F16, 0), dense, null);
        return GptqMath.quantize(desk, dense, grid, hessian, factor, settings);
    }

    private float[] values(Weight q) {
        Tensor t = matrix(OUT, IN);
        backend.run(new CompressionOp.Dequantize(t, q));
        return backend.floats(t);
    }

    @ParameterizedTest
    @EnumSource(ActOrder.class)
    void zerosStayZeroOnAnyGridInAnyOrder(ActOrder order) {
        float[] sparse = weights.clone();
        for (int i = 0; i < sparse.length; i++) {
            sparse[i] = i % 4 < 2 ? 0 : sparse[i];
        }
        for (boolean symmetric : new boolean[] {false, true}) {
            Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 32, symmetric);
            GptqMath.Result kept = quantize(sparse, spec, order, null, true);
            float[] q = values(kept.weight());
            int zeros = 0;
            for (int i = 0; i < q.length; i++) {
                if (sparse[i] == 0) {
                    assertThat(q[i]).isZero();
                    zeros++;
                }
            }
            assertThat(kept.sparsity()).isEqualTo(zeros / (double) q.length).isEqualTo(0.5);
            // Without the mask errors are spread to the zeros too, and some are lost.
            float[] lost = values(quantize(sparse, spec, order, null, false).weight());
            int nonzero = 0;
            for (int i = 0; i < q.length; i++) {
                nonzero += sparse[i] == 0 && lost[i] != 0 ? 1 : 0;
            }
            assertThat(nonzero).isPositive();
        }
    }

    @ParameterizedTest
    @CsvSource({"2,4", "4,8", "1,4"})
    void pruningInTheSameLoopKeepsThePattern(int n, int m) {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 32, true);
        GptqMath.Result joint =
                quantize(weights, spec, ActOrder.NONE, new Pattern.NOfM(n, m), false);
        float[] q = values(joint.weight());
        for (int g = 0; g < q.length; g += m) {
            int others = 0;
            for (int i = g; i < g + m; i++) {
                others += q[i] != 0 ? 1 : 0;
            }
            assertThat(others).isLessThanOrEqualTo(n);
        }
        assertThat(joint.sparsity()).isEqualTo(1 - n / (double) m);
    }

    @ParameterizedTest
    @EnumSource(ActOrder.class)
    void pruningWithRoundingBeatsMaskingAfterIt(ActOrder order) {
        Encoding.Grid<Codes.Ints> spec = Encoding.ints(4, 32, true);
        GptqMath.Result joint =
                quantize(weights, spec, order, new Pattern.Unstructured(0.5), false);
        float[] q = values(joint.weight());
        int zeros = 0;
        for (float v : q) {
            zeros += v == 0 ? 1 : 0;
        }
        assertThat(zeros / (double) q.length).isGreaterThanOrEqualTo(joint.sparsity());
        assertThat(joint.sparsity()).isBetween(0.5, 0.502);
        float[] masked = values(quantize(weights, spec, order, null, false).weight());
        for (int i = 0; i < q.length; i++) {
            masked[i] = q[i] == 0 ? 0 : masked[i];
        }
        assertThat(joint.error()).isLessThan(0.8 * error(masked));
    }

    /// Squared output error over squared output.
    private double error(float[] q) {
        float[] difference = q.clone();
        for (int i = 0; i < q.length; i++) {
            difference[i] -= weights[i];
        }
        return form(difference) / form(weights);
    }

    private double form(float[] e) {
        Tensor rows = arena.allocate(DType.F64, new Shape(OUT));
        backend.run(new StatisticOp.QuadraticForm(rows, put(e, OUT, IN), hessian));
        return backend.sum(rows);
    }
}
