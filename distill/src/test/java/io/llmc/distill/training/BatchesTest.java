// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.distill.spec.DistillSpec;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import io.llmc.tokenizer.Shares;
import io.llmc.tokenizer.Windows;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class BatchesTest {
    private static final int LENGTH = 2;

    private static DistillSpec spec(Map<String, Object> more) {
        Map<String, Object> options = new LinkedHashMap<>();
        options.putAll(Map.of("teacher", "t", "batch", 3, "length", LENGTH, "holdout", 0));
        options.putAll(more);
        return DistillSpec.read(Options.of(options));
    }

    /// Texts whose ids count on through all of them, so that a window's first id says which it is.
    private static Batches batches(Map<String, Object> more, int... windows) {
        List<int[]> texts = new ArrayList<>();
        int first = 0;
        for (int w : windows) {
            texts.add(IntStream.range(first, first + w * LENGTH).toArray());
            first += w * LENGTH;
        }
        return Batches.of(texts, spec(more));
    }

    private static int[] drawn(Batches b, int count) {
        return IntStream.range(0, count).flatMap(i -> Arrays.stream(b.chosen(i))).toArray();
    }

    @Test
    void oneTextKeepsTheOrderThatItHasAlwaysHad() {
        Batches b = batches(Map.of("data", "a.txt", "seed", 5, "holdout", 2), 12);
        assertThat(drawn(b, 7))
                .containsExactly(0, 2, 4, 9, 7, 5, 8, 6, 1, 3, 0, 3, 6, 5, 2, 8, 1, 4, 9, 7, 2);
    }

    @Test
    void noSourceIsAWindowAwayFromItsShare() {
        Random random = new Random(1);
        for (int trial = 0; trial < 300; trial++) {
            int[] weights =
                    random.ints(1 + random.nextInt(7), 1, trial % 2 == 0 ? 9 : 200).toArray();
            Shares shares = new Shares(weights);
            double total = Arrays.stream(weights).sum();
            long[] drawn = new long[weights.length];
            for (int k = 0; k < 2 * total + 5; k++) {
                Shares.Turn turn = shares.turn(k);
                assertThat(turn.number()).isEqualTo(drawn[turn.source()]++);
                for (int s = 0; s < weights.length; s++) {
                    assertThat(Math.abs(drawn[s] - (k + 1) * weights[s] / total)).isLessThan(1);
                }
            }
        }
    }

    @Test
    void anEpochSeesEveryWindowOnce() {
        Batches b = batches(Map.of("mix", List.of("a.txt:2", "b.txt:1"), "holdout", 3), 10, 6);
        assertThat(b.windows()).isEqualTo(16);
        int[] heldA = Arrays.stream(b.chosenHeld(0, 3)).filter(i -> i < 10).toArray();
        assertThat(b.chosenHeld(0, 3)).containsExactly(8, 9, 15);
        assertThat(heldA).hasSize(2);
        int[] all = drawn(b, 40);
        for (int[] bounds : new int[][] {{0, 8}, {10, 15}}) {
            int size = bounds[1] - bounds[0];
            int[] mine = Arrays.stream(all).filter(i -> i >= bounds[0] && i < bounds[1]).toArray();
            for (int from = 0; from + size <= mine.length; from += size) {
                int[] epoch = Arrays.copyOfRange(mine, from, from + size);
                assertThat(Arrays.stream(epoch).sorted().toArray())
                        .containsExactly(IntStream.range(bounds[0], bounds[1]).toArray());
            }
            assertThat(mine.length).isGreaterThan(3 * size);
        }
        assertThat(all).doesNotContain(8, 9, 15);
    }

    @Test
    void aWindowHoldsTheIdsThatItsIndexNames() {
        Batches b = batches(Map.of("mix", List.of("a.txt:2", "b.txt:1"), "holdout", 3), 10, 6);
        for (int number = 0; number < 20; number++) {
            assertThat(firsts(b.batch(number))).isEqualTo(b.chosen(number));
        }
        assertThat(firsts(b.held(1, 3))).containsExactly(9, 15);
    }

    private static int[] firsts(Windows w) {
        int[] ids = w.ids().toArray(ValueLayout.JAVA_INT);
        return IntStream.range(0, w.count()).map(i -> ids[i * LENGTH] / LENGTH).toArray();
    }

    @Test
    void aBatchDependsOnItsNumberAlone() {
        Map<String, Object> mix = Map.of("mix", List.of("a.txt:3", "b.txt:2"));
        Batches forwards = batches(mix, 7, 5);
        Batches backwards = batches(mix, 7, 5);
        List<int[]> seen = IntStream.range(0, 50).mapToObj(forwards::chosen).toList();
        for (int i = 49; i >= 0; i--) {
            assertThat(backwards.chosen(i)).isEqualTo(seen.get(i));
        }
    }

    @Test
    void seedsAndTextsHaveOrdersOfTheirOwn() {
        Map<String, Object> mix = Map.of("mix", List.of("a.txt:1", "b.txt:1"));
        Map<String, Object> other = Map.of("mix", List.of("a.txt:1", "b.txt:1"), "seed", 1);
        int[] all = drawn(batches(mix, 30, 30), 20);
        assertThat(drawn(batches(other, 30, 30), 20)).isNotEqualTo(all);
        int[] a = Arrays.stream(all).filter(i -> i < 30).toArray();
        int[] b = Arrays.stream(all).filter(i -> i >= 30).map(i -> i - 30).toArray();
        assertThat(a).hasSize(30).isNotEqualTo(b);
    }

    @Test
    void firstTakesTheWindowsAsTheyStand() {
        Batches b = batches(Map.of("data", "a.txt", "order", "first", "holdout", 1), 5);
        assertThat(drawn(b, 3)).containsExactly(0, 1, 2, 3, 0, 1, 2, 3, 0);
    }

    @Test
    void everyTextHoldsOneOutWhereThereAreEnough() {
        assertThat(Holdout.of(4, new int[] {1000, 3, 3})).containsExactly(2, 1, 1);
        assertThat(Holdout.of(2, new int[] {1000, 3, 3})).containsExactly(2, 0, 0);
        assertThat(Holdout.of(8, new int[] {100, 100})).containsExactly(4, 4);
        assertThat(Holdout.of(8, new int[] {100})).containsExactly(8);
        assertThat(Holdout.of(0, new int[] {5, 5})).containsExactly(0, 0);
    }

    @Test
    void badMixesAreOneSentence() {
        for (String wrong :
                List.of(
                        "a.txt",
                        "a.txt:",
                        "a.txt:0",
                        "a.txt:-1",
                        "a.txt:1.5",
                        ":3",
                        "a.txt:12345")) {
            assertThatThrownBy(() -> spec(Map.of("mix", List.of(wrong))))
                    .isInstanceOf(RecipeException.class)
                    .hasMessageContaining("mix has " + wrong + ", expected FILE:WEIGHT");
        }
        assertThatThrownBy(() -> spec(Map.of("mix", List.of("a.txt:1"), "data", "b.txt")))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("leave one out");
        assertThatThrownBy(() -> spec(Map.of()))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("data is missing");
        assertThatThrownBy(() ->
                        batches(Map.of("mix", List.of("a.txt:1", "b.txt:1"), "holdout", 2), 9, 1))
                .isInstanceOf(UserException.class)
                .hasMessageContaining(
                        "b.txt has 2 tokens: 1 windows of 2, and 1 of them are held out");
    }
}
