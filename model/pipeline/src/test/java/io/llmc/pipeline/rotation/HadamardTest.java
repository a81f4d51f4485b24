// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.rotation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Rotations of every size.
class HadamardTest {
    private static void assertOrthonormal(Rotation q) {
        int n = q.rows();
        double[][] rows = new double[n][n];
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                rows[i][j] = q.at(i, j);
            }
        }
        double worst = 0;
        for (int i = 0; i < n; i++) {
            for (int j = 0; j <= i; j++) {
                double dot = i == j ? -1 : 0;
                for (int k = 0; k < n; k++) {
                    dot += rows[i][k] * rows[j][k];
                }
                worst = Math.max(worst, Math.abs(dot));
            }
        }
        assertThat(worst).as("of size %d", n).isLessThan(1e-12);
    }

    static IntStream sizes() {
        return IntStream.concat(IntStream.rangeClosed(1, 48), IntStream.of(60, 76, 108, 124, 144));
    }

    @Test
    void everySizeIsOrthonormal() {
        sizes().forEach(n -> assertOrthonormal(Hadamard.random(n, n)));
    }

    @Test
    void theMeanStaysWhereItMust() {
        sizes().forEach(n -> {
            Rotation q = Hadamard.keepingMean(n, n);
            assertOrthonormal(q);
            for (int i = 0; i < n; i++) {
                int row = i;
                double sum = IntStream.range(0, n).mapToDouble(j -> q.at(row, j)).sum();
                assertThat(sum).isCloseTo(1, within(1e-12));
            }
        });
    }

    /// The widths of Llama, SmolLM2, Qwen, Gemma, Falcon, Phi and GPT-2.
    @ParameterizedTest
    @ValueSource(ints = {64, 576, 768, 896, 960, 1152, 1600, 2560, 3584, 4544, 5120, 5376, 6656})
    void usualWidthsHaveHadamardMatrices(int n) {
        Rotation q = Hadamard.random(n, 0);
        assertThat(Stream.of(0, 1, n / 2 + 1, n - 1))
                .allSatisfy(i ->
                        assertThat(IntStream.range(0, n).mapToDouble(j -> Math.abs(q.at(i, j))))
                                .allSatisfy(v ->
                                        assertThat(v * Math.sqrt(n)).isCloseTo(1, within(1e-12))));
    }

    @Test
    void seedsDiffer() {
        Rotation a = Hadamard.random(64, 1);
        Rotation b = Hadamard.random(64, 2);
        assertThat(IntStream.range(0, 64).anyMatch(j -> a.at(0, j) != b.at(0, j))).isTrue();
    }
}
