// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.llmc.evaluation.Likelihood;
import io.llmc.evaluation.tasks.TaskResult.Change;
import java.math.BigInteger;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ScoresTest {
    private static List<Likelihood> logarithms(double... each) {
        return java.util.Arrays.stream(each).mapToObj(l -> new Likelihood(l, false)).toList();
    }

    @Test
    void theFirstOfEqualChoicesIsTaken() {
        Key key = new Key.Choice(1, new int[] {4, 4, 8});
        assertThat(key.value(Metric.ACC, logarithms(-4, -3, -3))).isOne();
        assertThat(key.value(Metric.ACC, logarithms(-3, -3, -4))).isZero();
        assertThat(key.value(Metric.ACC_NORM, logarithms(-4, -3, -5))).isZero();
        assertThat(key.value(Metric.ACC_NORM, logarithms(-4, -3, -6))).isOne();
    }

    /// 24 / 60 and its error: lm-eval's arc_easy.
    @Test
    void theErrorIsThatOfTheSample() {
        double[] values = IntStream.range(0, 60).mapToDouble(i -> i < 24 ? 1 : 0).toArray();
        TaskResult.Figure figure = new Scores(Metric.ACC, values, new long[60]).figure();
        assertThat(figure.value()).isCloseTo(0.4, within(1e-12));
        assertThat(figure.error()).isCloseTo(0.06377928, within(1e-8));
    }

    @Test
    void perplexitiesAreOfItemsWordsAndBytes() {
        double[] values = {-2, -4};
        assertThat(new Scores(Metric.PERPLEXITY, values, new long[2]).figure().value())
                .isCloseTo(Math.exp(3), within(1e-5));
        long[] weights = {1, 5};
        assertThat(new Scores(Metric.WORD_PERPLEXITY, values, weights).figure().value())
                .isCloseTo(Math.E, within(1e-12));
        assertThat(new Scores(Metric.BITS_PER_BYTE, values, weights).figure().value())
                .isCloseTo(1 / Math.log(2), within(1e-12));
    }

    @Test
    void flipsAreNamed() {
        Scores model = new Scores(Metric.ACC, new double[] {1, 0, 0, 1, 0}, new long[5]);
        Scores original = new Scores(Metric.ACC, new double[] {1, 1, 1, 0, 0}, new long[5]);
        assertThat(model.changeFrom(original))
                .isEqualTo(new Change.Flips(List.of(1, 2), List.of(3), 1));
        assertThat(model.changeFrom(model)).isEqualTo(new Change.Flips(List.of(), List.of(), 1));
    }

    /// Twice the tail of the binomial distribution, of exact integers.
    @ParameterizedTest
    @CsvSource({
        "86, 150, 3.716e-05",
        "0, 5, 0.0625",
        "1, 9, 0.021484375",
        "6, 6, 1",
        "0, 0, 1",
        "12, 13, 1",
    })
    void mcNemarIsTheBinomialTest(int lost, int won, double p) {
        assertThat(McNemar.p(lost, won)).isCloseTo(p, within(1e-3 * p));
        assertThat(McNemar.p(won, lost)).isEqualTo(McNemar.p(lost, won));
    }

    /// Against exact integers, where half to the power of n is below the smallest double.
    @Test
    void mcNemarHoldsForManyItems() {
        int n = 3000;
        int k = 1440;
        BigInteger tail = BigInteger.ZERO;
        BigInteger chosen = BigInteger.ONE;
        for (int i = 0; i <= k; i++) {
            tail = tail.add(chosen);
            chosen = chosen.multiply(BigInteger.valueOf(n - i)).divide(BigInteger.valueOf(i + 1));
        }
        double p = tail.shiftRight(n - 1 - 100).doubleValue() / Math.pow(2, 100);
        assertThat(McNemar.p(k, n - k)).isCloseTo(p, within(1e-9 * p)).isBetween(0.01, 0.1);
    }
}
