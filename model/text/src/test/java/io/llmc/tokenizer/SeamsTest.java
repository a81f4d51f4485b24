// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.junit.jupiter.api.Test;

class SeamsTest {
    private final List<Integer> lengths = new ArrayList<>();

    @Test
    void dropsWhatATokenizerPutsBeforeATextInEveryPiece() {
        String text = "some words and\na line end ".repeat(40_000);
        check(text, t -> ("_" + t).chars().toArray());
        assertThat(lengths.stream().mapToInt(i -> i).max().orElseThrow()).isLessThan(300_000);
    }

    @Test
    void cutsAtSpacesWhereThereAreNoLines() {
        check("word ".repeat(200_000), t -> t.chars().toArray());
        assertThat(lengths.stream().mapToInt(i -> i).max().orElseThrow()).isLessThan(300_000);
    }

    @Test
    void staysWholeWhereNothingCanBeCut() {
        check("x".repeat(500_000), t -> t.chars().toArray());
        assertThat(lengths).containsExactly(500_000);
    }

    @Test
    void staysWholeWhereAnIdDependsOnWhatFollows() {
        // Every id but the last names the character after it.
        check(
                "ab \n".repeat(100_000),
                t -> {
                    int[] ids = new int[t.length()];
                    for (int i = 0; i < ids.length; i++) {
                        ids[i] = t.charAt(i) << 16 | (i + 1 < ids.length ? t.charAt(i + 1) : 0);
                    }
                    return ids;
                });
    }

    @Test
    void neverTearsASurrogatePair() {
        check(
                "\ud83d\ude00 ".repeat(300_000),
                t -> {
                    assertThat(t.isEmpty() || !Character.isLowSurrogate(t.charAt(0))).isTrue();
                    assertThat(t.isEmpty() || !Character.isHighSurrogate(t.charAt(t.length() - 1)))
                            .isTrue();
                    return t.codePoints().toArray();
                });
    }

    private void check(String text, Function<String, int[]> encoder) {
        Function<String, int[]> noted =
                t -> {
                    lengths.add(t.length());
                    return encoder.apply(t);
                };
        int[] expected = encoder.apply(text);
        assertThat(
                        java.util.Arrays.equals(
                                new Seams(noted).encode(text, Integer.MAX_VALUE), expected))
                .isTrue();
    }
}
