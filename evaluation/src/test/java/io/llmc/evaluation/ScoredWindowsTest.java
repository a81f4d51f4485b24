// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.UserException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ScoredWindowsTest {
    /// One prediction: the token, and the context that it is made from.
    private record Scored(int target, List<Integer> context) {}

    @Test
    void gptqScoresEveryTokenOfAWindowButTheFirst() {
        assertThat(scored(text(11), spec(Convention.GPTQ, 4, 0, 0), OptionalInt.of(99)))
                .containsExactly(
                        new Scored(101, List.of(100)),
                        new Scored(102, List.of(100, 101)),
                        new Scored(103, List.of(100, 101, 102)),
                        new Scored(105, List.of(104)),
                        new Scored(106, List.of(104, 105)),
                        new Scored(107, List.of(104, 105, 106)));
    }

    @Test
    void llamaCppScoresTheSecondHalfAfterBos() {
        assertThat(scored(text(12), spec(Convention.LLAMA_CPP, 6, 0, 0), OptionalInt.of(9)))
                .containsExactly(
                        new Scored(103, List.of(9, 100, 101, 102)),
                        new Scored(104, List.of(9, 100, 101, 102, 103)),
                        new Scored(109, List.of(9, 106, 107, 108)),
                        new Scored(110, List.of(9, 106, 107, 108, 109)));
        assertThat(scored(text(12), spec(Convention.LLAMA_CPP, 6, 0, 0), OptionalInt.empty()))
                .first()
                .isEqualTo(new Scored(104, List.of(100, 101, 102, 103)));
        // 255 of 512, as llama.cpp says.
        assertThat(scored(text(1024), spec(Convention.LLAMA_CPP, 512, 0, 0), OptionalInt.empty()))
                .hasSize(2 * 255);
    }

    @Test
    void slidingIsTheLoopOfTransformersDocumentation() {
        Random random = new Random(5);
        for (int trial = 0; trial < 300; trial++) {
            int window = 2 + random.nextInt(9);
            int stride = 1 + random.nextInt(window - 1);
            int[] ids = text(2 + random.nextInt(40));
            assertThat(
                            scored(
                                    ids,
                                    spec(Convention.SLIDING, window, stride, 0),
                                    OptionalInt.empty()))
                    .as("%d tokens, window %d, stride %d", ids.length, window, stride)
                    .isEqualTo(documented(ids, window, stride));
        }
    }

    /// https://huggingface.co/docs/transformers/perplexity, token by token.
    private static List<Scored> documented(int[] ids, int maxLength, int stride) {
        List<Scored> all = new ArrayList<>();
        int previousEnd = 0;
        for (int begin = 0; begin < ids.length; begin += stride) {
            int end = Math.min(begin + maxLength, ids.length);
            int targets = end - previousEnd;
            for (int p = Math.max(begin + 1, end - targets); p < end; p++) {
                all.add(new Scored(ids[p], context(ids, begin, p)));
            }
            previousEnd = end;
            if (end == ids.length) {
                break;
            }
        }
        return all;
    }

    @Test
    void slidingScoresEveryTokenButTheFirstOnce() {
        List<Scored> all =
                scored(text(100), spec(Convention.SLIDING, 16, 0, 0), OptionalInt.empty());
        assertThat(all.stream().map(Scored::target))
                .containsExactlyElementsOf(IntStream.range(101, 200).boxed().toList());
        assertThat(all.stream().skip(15)).allMatch(s -> s.context().size() >= 8);
    }

    @Test
    void takesTheFirstWindowsOnly() {
        assertThat(scored(text(100), spec(Convention.GPTQ, 10, 0, 3), OptionalInt.empty()))
                .hasSize(27);
        assertThat(scored(text(100), spec(Convention.SLIDING, 10, 5, 3), OptionalInt.empty()))
                .hasSize(19);
        assertThat(scored(text(100), spec(Convention.GPTQ, 10, 0, 99), OptionalInt.empty()))
                .hasSize(90);
    }

    @Test
    void aShortTextSaysWhatWouldFit() {
        assertThatThrownBy(
                        () -> scored(text(7), spec(Convention.GPTQ, 8, 0, 0), OptionalInt.empty()))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("has 7 tokens, fewer than one window of 8")
                .satisfies(e ->
                        assertThat(((UserException) e).hint()).contains("{window} to at most 7"));
        assertThatThrownBy(() ->
                        scored(text(1), spec(Convention.SLIDING, 8, 0, 0), OptionalInt.empty()))
                .isInstanceOf(UserException.class);
    }

    @Test
    void valuesThatCannotBe() {
        assertThatThrownBy(() -> spec(Convention.GPTQ, 1, 0, 0))
                .hasMessageContaining("{window} is 1");
        assertThatThrownBy(() -> spec(Convention.LLAMA_CPP, 3, 0, 0))
                .hasMessageContaining("at least 4");
        assertThatThrownBy(() -> spec(Convention.SLIDING, 8, 8, 0))
                .hasMessageContaining("{stride} is 8");
        assertThatThrownBy(() -> spec(Convention.GPTQ, 8, 0, -1))
                .hasMessageContaining("{maxWindows}");
        assertThatThrownBy(() -> Convention.parse("lm-eval"))
                .isInstanceOf(UserException.class)
                .satisfies(e ->
                        assertThat(((UserException) e).hint())
                                .contains("gptq, llama.cpp, sliding"));
        assertThat(Convention.parse("LLAMA.cpp")).isEqualTo(Convention.LLAMA_CPP);
    }

    @Test
    void idsOutsideOfTheVocabularyAreNamed() {
        ScoredWindows w =
                ScoredWindows.of(text(8), spec(Convention.GPTQ, 4, 0, 0), OptionalInt.empty());
        w.requireBelow(108, "m");
        assertThatThrownBy(() -> w.requireBelow(107, "m"))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("token id 107 at position 7");
    }

    private static int[] text(int tokens) {
        return IntStream.range(100, 100 + tokens).toArray();
    }

    private static EvalSpec spec(Convention convention, int window, int stride, int maxWindows) {
        return new EvalSpec(
                Path.of("m"), null, Path.of("text.txt"), window, convention, stride, maxWindows);
    }

    private static List<Scored> scored(int[] ids, EvalSpec spec, OptionalInt bos) {
        ScoredWindows w = ScoredWindows.of(ids, spec, bos);
        int length = spec.window();
        int[] all = w.windows().ids().toArray(ValueLayout.JAVA_INT);
        int[] targets = w.targets();
        List<Scored> scored = new ArrayList<>();
        for (int i = 0; i < w.count(); i++) {
            for (int r = w.firstRow()[i]; r < w.endRow()[i]; r++) {
                scored.add(
                        new Scored(
                                targets[scored.size()],
                                context(all, i * length, i * length + r + 1)));
            }
        }
        assertThat(targets).hasSize(scored.size()).hasSize(w.rows());
        return scored;
    }

    private static List<Integer> context(int[] ids, int from, int to) {
        return IntStream.range(from, to).mapToObj(i -> ids[i]).toList();
    }
}
