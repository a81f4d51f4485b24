// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Random;
import org.junit.jupiter.api.Test;

class PerplexityTest {
    @Test
    void isTheExponentialOfTheMeanLoss() {
        Perplexity p = Perplexity.of(new float[] {1, 2, 3, 6});
        assertThat(p.loss()).isEqualTo(3);
        assertThat(p.value()).isEqualTo(Math.exp(3));
        // Deviations 2, 1, 0, 3: variance 14/3.
        assertThat(p.error()).isCloseTo(Math.sqrt(14.0 / 3 / 4), within(1e-15));
        assertThat(p.valueError()).isCloseTo(p.value() * p.error(), within(1e-12));
        assertThat(p.tokens()).isEqualTo(4);
    }

    @Test
    void aModelAgainstItselfHasTheRatioOne() {
        float[] losses = {1.5f, 0.25f, 7};
        PerplexityRatio ratio = PerplexityRatio.of(losses, losses);
        assertThat(ratio.value()).isEqualTo(1);
        assertThat(ratio.low()).isEqualTo(1);
        assertThat(ratio.high()).isEqualTo(1);
        assertThat(ratio.difference()).isZero();
        assertThat(ratio.differenceError()).isZero();
        assertThat(ratio.correlation()).isCloseTo(1, within(1e-12));
    }

    @Test
    void theIntervalHoldsTheTruthInNineteenOfTwentyTexts() {
        Random random = new Random(3);
        int inside = 0;
        for (int trial = 0; trial < 2000; trial++) {
            float[] a = new float[400];
            float[] b = new float[400];
            for (int i = 0; i < a.length; i++) {
                double hard = 5 * random.nextDouble();
                b[i] = (float) hard;
                a[i] = (float) (hard + 0.1 + 0.5 * random.nextGaussian());
            }
            PerplexityRatio ratio = PerplexityRatio.of(a, b);
            inside += ratio.low() <= Math.exp(0.1) && Math.exp(0.1) <= ratio.high() ? 1 : 0;
        }
        assertThat(inside / 2000.0).isBetween(0.935, 0.965);
    }

    @Test
    void theErrorOfADifferenceIsItsSpreadOverTexts() {
        Random random = new Random(5);
        double sum = 0;
        double squares = 0;
        double errors = 0;
        int trials = 2000;
        for (int trial = 0; trial < trials; trial++) {
            float[] a = new float[300];
            float[] b = new float[300];
            for (int i = 0; i < a.length; i++) {
                double hard = 3 * random.nextDouble();
                b[i] = (float) hard;
                a[i] = (float) (hard + 0.1 + 0.3 * random.nextGaussian());
            }
            PerplexityRatio ratio = PerplexityRatio.of(a, b);
            sum += ratio.difference();
            squares += ratio.difference() * ratio.difference();
            errors += ratio.differenceError() / trials;
        }
        double mean = sum / trials;
        assertThat(errors).isCloseTo(Math.sqrt(squares / trials - mean * mean), within(0.003));
    }

    @Test
    void quantilesLieBetweenNeighbours() {
        Distribution d = Distribution.of(new float[] {10, 1, 0, 4});
        assertThat(d.quantile(0)).isZero().isEqualTo(d.min());
        assertThat(d.median()).isEqualTo(2.5);
        assertThat(d.quantile(0.99)).isCloseTo(9.82, within(1e-9));
        assertThat(d.quantile(1)).isEqualTo(10).isEqualTo(d.max());
        assertThat(d.mean()).isEqualTo(3.75);
        assertThat(Distribution.of(new float[] {3}).quantile(0.99)).isEqualTo(3);
    }

    @Test
    void driftSumsUpTokens() {
        float half = (float) Math.log(2);
        Drift drift =
                Drift.of(
                        new float[] {4, 0, 10, 1},
                        new float[] {half, half, half, 2 * half},
                        new float[] {half, half, half, half},
                        3);
        assertThat(drift.divergence().mean()).isEqualTo(3.75);
        assertThat(drift.change().mean()).isCloseTo(-0.0625, within(1e-7));
        assertThat(drift.change().min()).isCloseTo(-0.25, within(1e-7));
        assertThat(drift.rms()).isCloseTo(0.125, within(1e-7));
        assertThat(drift.top1()).isEqualTo(0.75);
        assertThat(drift.top1Error()).isEqualTo(0.25);
    }
}
