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
        Perplexity ratio = Perplexity.paired(losses, losses);
        assertThat(ratio.value()).isEqualTo(1);
        assertThat(ratio.low()).isEqualTo(1);
        assertThat(ratio.high()).isEqualTo(1);
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
            Perplexity ratio = Perplexity.paired(a, b);
            inside += ratio.low() <= Math.exp(0.1) && Math.exp(0.1) <= ratio.high() ? 1 : 0;
        }
        assertThat(inside / 2000.0).isBetween(0.935, 0.965);
    }

    @Test
    void quantilesLieBetweenNeighbours() {
        float[] sorted = {0, 1, 4, 10};
        assertThat(Drift.quantile(sorted, 0)).isZero();
        assertThat(Drift.quantile(sorted, 0.5)).isEqualTo(2.5);
        assertThat(Drift.quantile(sorted, 0.99)).isCloseTo(9.82, within(1e-9));
        assertThat(Drift.quantile(sorted, 1)).isEqualTo(10);
        assertThat(Drift.quantile(new float[] {3}, 0.99)).isEqualTo(3);
    }

    @Test
    void driftSumsUpTokens() {
        Drift drift = Drift.of(new float[] {4, 0, 10, 1}, 3);
        assertThat(drift.mean()).isEqualTo(3.75);
        assertThat(drift.median()).isEqualTo(2.5);
        assertThat(drift.max()).isEqualTo(10);
        assertThat(drift.top1()).isEqualTo(0.75);
    }
}
