// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.GridSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Weight;
import org.junit.jupiter.api.Test;

/// A symmetric grid of four bits reaches from -8 to 7: a group from -7 to 8 fits it by a negative
/// scale alone.
class SignedScalesTest {
    private static final int GROUP = 16;

    /// Of one group of -8 to 7 and one of -7 to 8: the error, and both scales.
    @SuppressWarnings("MustBeClosed") // the desk closes its arena
    private static double[] rounded(boolean signs, boolean symmetric) {
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Desk d = new Desk(backend, backend.newArena(1 << 22))) {
            float[] x = new float[2 * GROUP];
            for (int i = 0; i < GROUP; i++) {
                x[i] = i - 8;
                x[GROUP + i] = 8 - i;
            }
            Weight w = new Weight.Dense(d.floats(x).reshape(1, x.length));
            var spec = new GridSpec<>(Encoding.ints(4, GROUP, symmetric), DType.F32, 0);
            var grid = WeightGrid.allocate(d, spec, w, null);
            // 2 * 8 / 15 * 15 / 16 is 1.
            var search = new CompressionOp.GridSearch(3, 16, 2, signs);
            RtnMath.Result result = RtnMath.quantize(d, w, grid, null, search, false);
            float[] scales = backend.floats(((Weight.Grouped) result.weight()).scales());
            return new double[] {result.error(), scales[0], scales[1]};
        }
    }

    @Test
    void aGroupTakesTheDirectionThatFits() {
        assertThat(rounded(true, true)).containsExactly(0, 1, -1);
    }

    @Test
    void scalesStayPositiveWhereTheyShall() {
        double[] positive = rounded(false, true);
        assertThat(positive[0]).isPositive();
        assertThat(positive[2]).isPositive();
    }

    @Test
    void groupsWithZeroPointsHaveNoNegativeScales() {
        double[] shifted = rounded(true, false);
        assertThat(shifted[1]).isPositive();
        assertThat(shifted[2]).isPositive();
    }
}
