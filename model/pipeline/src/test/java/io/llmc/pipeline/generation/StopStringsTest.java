// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class StopStringsTest {
    private static String told(StopStrings stops, List<String> pieces) {
        StringBuilder text = new StringBuilder();
        pieces.forEach(piece -> text.append(stops.add(piece)));
        return text.append(stops.end()).toString();
    }

    @Test
    void aBeginningIsHeldBackUntilItIsKnown() {
        StopStrings stops = new StopStrings(List.of("\n\nUser:", "END"));
        assertThat(stops.add("Hello.\n")).isEqualTo("Hello.");
        assertThat(stops.add("\nUs")).isEmpty();
        assertThat(stops.add("ual")).isEqualTo("\n\nUsual");
        assertThat(stops.add(" EN")).isEqualTo(" ");
        assertThat(stops.found()).isFalse();
        assertThat(stops.add("DING")).isEmpty();
        assertThat(stops.found()).isTrue();
        assertThat(stops.end()).isEmpty();
    }

    @Test
    void theFirstOfSeveralCounts() {
        assertThat(told(new StopStrings(List.of("c", "abc")), List.of("xab", "cy"))).isEqualTo("x");
        assertThat(told(new StopStrings(List.of()), List.of("all", " of it")))
                .isEqualTo("all of it");
    }

    /// However a text is cut, what comes out ends before the first of the strings in the whole.
    @Test
    void piecesDoNotMatter() {
        SplittableRandom random = new SplittableRandom(2);
        for (int round = 0; round < 2000; round++) {
            String text = word(random, 30);
            List<String> stops =
                    Stream.generate(() -> word(random, 1 + random.nextInt(4))).limit(2).toList();
            List<String> pieces = new ArrayList<>();
            for (int at = 0; at < text.length(); ) {
                int to = Math.min(text.length(), at + 1 + random.nextInt(4));
                pieces.add(text.substring(at, to));
                at = to;
            }
            int end =
                    stops.stream()
                            .mapToInt(text::indexOf)
                            .filter(i -> i >= 0)
                            .min()
                            .orElse(text.length());
            // A stop that begins earlier may be completed later than one that lies within it.
            String got = told(new StopStrings(stops), pieces);
            assertThat(text).startsWith(got);
            assertThat(got.length()).as("%s in %s", stops, pieces).isGreaterThanOrEqualTo(end);
            assertThat(stops).noneMatch(got::contains);
        }
    }

    private static String word(SplittableRandom random, int length) {
        StringBuilder word = new StringBuilder();
        for (int i = 0; i < length; i++) {
            word.append((char) ('a' + random.nextInt(2)));
        }
        return word.toString();
    }
}
