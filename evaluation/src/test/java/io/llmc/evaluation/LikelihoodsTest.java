// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.model.arch.Models;
import io.llmc.pipeline.Progress;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class LikelihoodsTest {
    private static final int VOCABULARY = 256;

    @TempDir private Path temp;

    private final CpuBackend backend =
            new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));

    private static Path model(String name) {
        return TestFiles.testdata().resolve(name);
    }

    /// Of many lengths; some begin with the whole of another one, some share their input.
    private static List<Continuation> many() {
        Random random = new Random(5);
        List<Continuation> all = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            int[] context = random.ints(1 + random.nextInt(45), 3, VOCABULARY).toArray();
            for (int choice = 0; choice < 3; choice++) {
                int[] ids = random.ints(1 + random.nextInt(3), 3, VOCABULARY).toArray();
                all.add(Continuation.of(context, ids, 40));
            }
        }
        return all;
    }

    private Likelihood[] answers(Path model, List<Continuation> asked, long cap) {
        try (Likelihoods likelihoods =
                new Likelihoods(Models.AS_THEY_SAY, model, backend, Progress.NONE)) {
            likelihoods.prepare(asked, cap);
            assertThat(likelihoods.bytes()).isPositive().isLessThanOrEqualTo(cap);
            return likelihoods.run();
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"tiny-llama", "tiny-gemma3_text", "tiny-gpt2", "tiny-mixtral", "tiny-phi3"})
    void areThoseOfEverySequenceByItself(String name) {
        areThoseOfEverySequenceByItself(model(name));
    }

    /// Positions beyond the 8th turn by angles that depend on how many there are.
    @Test
    void anglesMayDependOnTheLength() throws IOException {
        Path to = temp.resolve("model");
        Files.createDirectory(to);
        Files.copy(
                model("tiny-llama").resolve("model.safetensors"), to.resolve("model.safetensors"));
        String config = Files.readString(model("tiny-llama").resolve("config.json"));
        Files.writeString(
                to.resolve("config.json"),
                config.replaceFirst(
                                "\"rope_scaling\": null",
                                "\"rope_scaling\": {\"rope_type\": \"dynamic\", \"factor\": 8.0}")
                        .replaceFirst(
                                "\"max_position_embeddings\": [0-9]+",
                                "\"max_position_embeddings\": 8"));
        areThoseOfEverySequenceByItself(to);
    }

    private void areThoseOfEverySequenceByItself(Path model) {
        List<Continuation> asked = many();
        Likelihood[] together = answers(model, asked, Long.MAX_VALUE);
        for (int i = 0; i < together.length; i++) {
            Likelihood alone = answers(model, asked.subList(i, i + 1), Long.MAX_VALUE)[0];
            assertThat(together[i].logarithm())
                    .as("%s %d", model, i)
                    .isCloseTo(alone.logarithm(), within(1e-4));
            assertThat(together[i].greedy()).isEqualTo(alone.greedy());
        }
    }

    @Test
    void areThoseOfTheModelsLogits() {
        int[] context = {7, 99, 23, 4};
        Path model = model("tiny-llama");
        double[] next = new double[VOCABULARY];
        List<Continuation> each = new ArrayList<>();
        for (int id = 0; id < VOCABULARY; id++) {
            each.add(Continuation.of(context, new int[] {id}, 64));
        }
        Likelihood[] answers = answers(model, each, Long.MAX_VALUE);
        int best = 0;
        for (int id = 0; id < VOCABULARY; id++) {
            next[id] = Math.exp(answers[id].logarithm());
            best = next[id] > next[best] ? id : best;
        }
        assertThat(Arrays.stream(next).sum()).isCloseTo(1, within(1e-5));
        for (int id = 0; id < VOCABULARY; id++) {
            assertThat(answers[id].greedy()).isEqualTo(id == best);
        }
        // The chain rule: two tokens are as likely as the first, times the second behind it.
        List<Continuation> pair =
                List.of(
                        Continuation.of(context, new int[] {best, 50}, 64),
                        Continuation.of(new int[] {7, 99, 23, 4, best}, new int[] {50}, 64));
        Likelihood[] two = answers(model, pair, Long.MAX_VALUE);
        assertThat(two[0].logarithm())
                .isCloseTo(answers[best].logarithm() + two[1].logarithm(), within(1e-5));
        assertThat(two[0].greedy()).isEqualTo(two[1].greedy());
    }

    @Test
    void aMemoryCapChangesNothing() {
        List<Continuation> asked = many();
        Path model = model("tiny-llama");
        Likelihood[] free = answers(model, asked, Long.MAX_VALUE);
        try (Likelihoods probe =
                new Likelihoods(Models.AS_THEY_SAY, model, backend, Progress.NONE)) {
            assertThatThrownBy(() -> probe.prepare(asked, 1 << 19))
                    .isInstanceOf(UserException.class)
                    .satisfies(e ->
                            assertThat(((UserException) e).hint()).contains("lower {maxLength}"));
            probe.prepare(asked, Long.MAX_VALUE);
            int few = probe.steps();
            probe.prepare(asked, 1 << 20);
            assertThat(probe.steps()).isGreaterThan(few);
        }
        Likelihood[] capped = answers(model, asked, 1 << 20);
        for (int i = 0; i < free.length; i++) {
            assertThat(capped[i].logarithm()).isCloseTo(free[i].logarithm(), within(1e-5));
        }
    }

    @Test
    void anInputThatBeginsAnotherNeedsNoPass() {
        List<Continuation> all =
                List.of(
                        Continuation.of(new int[] {1, 2, 3}, new int[] {9}, 64),
                        Continuation.of(new int[] {1, 2, 3}, new int[] {8}, 64),
                        Continuation.of(new int[] {1, 2, 3}, new int[] {7, 6}, 64),
                        Continuation.of(new int[] {1, 2, 4}, new int[] {7}, 64),
                        Continuation.of(new int[] {1, 2}, new int[] {7}, 64));
        List<SharedInputs.Input> shared = SharedInputs.of(all, true);
        assertThat(shared).extracting(SharedInputs.Input::length).containsExactly(4, 3);
        assertThat(shared.get(0).asked()).containsExactly(0, 1, 2, 4);
        assertThat(shared.get(1).asked()).containsExactly(3);
        assertThat(SharedInputs.of(all, false))
                .extracting(SharedInputs.Input::asked)
                .containsExactly(List.of(2), List.of(0, 1), List.of(3), List.of(4));
    }

    @Test
    void aContextLosesItsBeginning() {
        Continuation cut = Continuation.of(new int[] {1, 2, 3, 4}, new int[] {5, 6}, 3);
        assertThat(cut.input()).containsExactly(3, 4, 5);
        assertThat(cut.cut()).isEqualTo(2);
        assertThat(Continuation.of(new int[] {1, 2, 3, 4}, new int[] {5, 6}, 2).input())
                .containsExactly(4, 5);
        Continuation whole = Continuation.of(new int[] {1, 2}, new int[] {5, 6}, 3);
        assertThat(whole.input()).containsExactly(1, 2, 5);
        assertThat(whole.cut()).isZero();
    }

    @Test
    void idsOfAnotherVocabularyAreRefused() {
        try (Likelihoods likelihoods =
                new Likelihoods(Models.AS_THEY_SAY, model("tiny-llama"), backend, Progress.NONE)) {
            for (Continuation one :
                    List.of(
                            Continuation.of(new int[] {VOCABULARY}, new int[] {1}, 9),
                            Continuation.of(new int[] {1}, new int[] {-1}, 9))) {
                assertThatThrownBy(() -> likelihoods.prepare(List.of(one), Long.MAX_VALUE))
                        .isInstanceOf(UserException.class)
                        .hasMessageContaining("outside of the vocabulary");
            }
        }
    }
}
