// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.Desk;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.quantize.scales.AwqMath.Duo;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Formulas of scales, on numbers that a reader can check.
class ScalesTest {
    @Test
    void awqBalancesPowersOfActivity() {
        float[] s = AwqMath.scales(new double[] {1, 4, 16}, null, 0.5);
        assertThat(s).containsExactly(0.5f, 1, 2);
        assertThat(AwqMath.scales(new double[] {1, 4, 16}, null, 0)).containsExactly(1, 1, 1);
    }

    @Test
    void awqScalesFallWithTheSizeOfWeights() {
        float[] s = AwqMath.scales(new double[] {1, 1}, new double[] {0.25, 1}, 0);
        assertThat(s[0] / s[1]).isCloseTo(4, within(0.01f));
    }

    /// It might wake, so its weights must not vanish in their group.
    @Test
    void aChannelThatWasNeverActiveGetsTheLeastScaleOfTheOthers() {
        assertThat(AwqMath.scales(new double[] {0, 4, 16}, null, 0.5)[0])
                .isEqualTo(AwqMath.scales(new double[] {4, 16}, null, 0.5)[0]);
        assertThat(SmoothMath.scales(new float[] {0, 4}, new float[] {1, 1}, 0.5))
                .containsExactly(1, 2);
    }

    /// Half of the ratios and the neighbours of two; scales are 4^ratio.
    @ParameterizedTest
    @ValueSource(ints = {0, 1, 5, 6, 18, 19})
    void ratiosAreTriedOnceAndTheBestIsTaken(int best) {
        List<Float> tried = new ArrayList<>();
        float want = (float) Math.pow(4, best / 20.0);
        Trial trial =
                s -> {
                    tried.add(s[1]);
                    return Math.abs(s[1] - want);
                };
        AwqMath.Found found =
                AwqMath.search(
                        new double[] {1, 16}, null, new AwqMath.Ratios(20, Duo.WITHOUT), trial);
        assertThat(tried).hasSizeBetween(12, 13).doesNotHaveDuplicates();
        assertThat(found.ratio()).isEqualTo(best / 20.0);
        assertThat(found.unscaled()).isEqualTo(want - 1.0);
    }

    /// A valley between others, beside the second of the ratios that are tried first.
    @Test
    void theSecondBestHasNeighboursToo() {
        List<Float> errors = new ArrayList<>(Collections.nCopies(20, 9f));
        errors.set(4, 2f);
        errors.set(12, 3f);
        errors.set(13, 1f);
        Trial trial = s -> errors.get((int) Math.round(20 * Math.log(s[1]) / Math.log(4)));
        AwqMath.Found found =
                AwqMath.search(
                        new double[] {1, 16}, null, new AwqMath.Ratios(20, Duo.WITHOUT), trial);
        assertThat(found.ratio()).isEqualTo(0.65);
        assertThat(found.error()).isEqualTo(1);
    }

    @Test
    void worseScalesThanOnesAreNotTaken() {
        Trial trial = s -> Math.abs(s[0] - 1);
        assertThat(
                        AwqMath.search(
                                        new double[] {1, 16},
                                        new double[] {0.5, 1},
                                        new AwqMath.Ratios(20, Duo.BOTH),
                                        trial)
                                .scales())
                .containsExactly(1, 1);
        assertThat(SmoothMath.search(new float[] {1, 9}, new float[] {1, 1}, 4, trial).scales())
                .containsExactly(1, 1);
    }

    @ParameterizedTest
    @CsvSource({"3,3", "8,8", "9,5", "12,6", "16,8", "20,7"})
    @SuppressWarnings("MustBeClosed") // the desk closes its arena
    void rowsAreSpreadEvenlyAndAreNeverMoreThanAsked(int rows, int taken) {
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Desk d = new Desk(backend, backend.newArena(1 << 16))) {
            float[] x = new float[rows];
            for (int r = 0; r < rows; r++) {
                x[r] = r;
            }
            float[] some = backend.floats(ChannelScales.rows(d, d.floats(x).reshape(rows, 1), 8));
            assertThat(some).hasSize(taken).startsWith(0).isSorted();
        }
    }

    /// Half way, inputs and weights are equally large afterwards.
    @Test
    void outliersMoveUntilBothSidesAreAsLarge() {
        float[] inputs = {1, 100, 25};
        float[] weights = {1, 0.25f, 4};
        float[] s = SmoothMath.scales(inputs, weights, 0.5);
        for (int c = 0; c < 3; c++) {
            assertThat(inputs[c] / s[c]).isCloseTo(weights[c] * s[c], within(1e-5f));
        }
    }
}
