// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.GridSpec;
import io.llmc.solver.Drift;
import io.llmc.solver.Factor;
import io.llmc.solver.Gram;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Properties of what comes before and after GPTQ's loop.
class DescentTest {
    private static final int OUT = 48;
    private static final int IN = 96;
    private static final int TOKENS = 300;

    private final Random random = new Random(5);

    private Tensor random(Desk d, int rows, int cols) {
        float[] x = new float[rows * cols];
        for (int i = 0; i < x.length; i++) {
            // Columns that go with each other, so that H is no diagonal.
            x[i] = (float) random.nextGaussian() + (i % cols > 0 ? 0.8f * x[i - 1] : 0);
        }
        return d.floats(x).reshape(rows, cols);
    }

    @ParameterizedTest
    @CsvSource({"3,32,true,F32", "4,48,false,BF16", "2,-1,false,F32"})
    @SuppressWarnings("MustBeClosed") // the desk closes its arena
    void aRefitLowersTheError(int bits, int group, boolean symmetric, DType scales) {
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Desk d = new Desk(backend, backend.newArena(1 << 24))) {
            Tensor h = d.f32(IN, IN);
            d.run(new StatisticOp.AccumulateGram(h, random(d, TOKENS, IN), 1));
            Weight w = new Weight.Dense(random(d, OUT, IN));
            Factor factor = Factor.of(d, h, 0.01, true);
            var spec = new GridSpec<>(Encoding.ints(bits, group, symmetric), scales, 0);
            double last = Double.POSITIVE_INFINITY;
            for (int sweeps : new int[] {0, 1, 2, 4}) {
                var settings =
                        new GptqMath.Settings(
                                ActOrder.STATIC,
                                64,
                                CompressionOp.GridSearch.DEFAULT,
                                true,
                                null,
                                false,
                                sweeps);
                var grid = WeightGrid.allocate(d, spec, w, null);
                double error = GptqMath.quantize(d, w, grid, h, factor, settings).error();
                assertThat(error).isLessThanOrEqualTo(last * (1 + 1e-6));
                if (sweeps == 1) {
                    assertThat(error).isLessThan(last * 0.97);
                }
                last = error;
            }
        }
    }

    @Test
    @SuppressWarnings("MustBeClosed") // the desk closes its arena
    void aCorrectionUndoesWhatWasDoneToTheInputs() {
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Desk d = new Desk(backend, backend.newArena(1 << 24))) {
            Tensor x = random(d, TOKENS, IN);
            float[] doubled = backend.floats(x);
            for (int i = 0; i < doubled.length; i++) {
                doubled[i] *= 2;
            }
            Tensor original = d.floats(doubled).reshape(TOKENS, IN);
            Gram.Sum gram = new Gram(IN).see(new Gram(IN).empty(d), x);
            Tensor cross = d.f32(IN, IN);
            d.run(new io.llmc.backend.GradientOp.AccumulateOuter(cross, x, original));
            Tensor lag = d.f32(OUT, IN);
            Tensor w = random(d, OUT, IN);
            Factor factor = Factor.of(d, gram.h(), 1e-6, true);
            Tensor corrected = d.f32(OUT, IN);
            var drift = new Drift.Sum(gram, cross, lag);
            Correction.apply(d, corrected, new Weight.Dense(w), drift, factor, 1, 1);
            float[] want = backend.floats(w);
            float[] got = backend.floats(corrected);
            for (int i = 0; i < want.length; i++) {
                assertThat(got[i])
                        .isCloseTo(2 * want[i], org.assertj.core.data.Offset.offset(2e-2f));
            }
        }
    }
}
