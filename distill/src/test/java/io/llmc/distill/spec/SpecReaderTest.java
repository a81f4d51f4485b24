// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.spec;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/// What a recipe's section means, and which combinations mean nothing.
class SpecReaderTest {
    private static DistillSpec read(Map<String, Object> more) {
        Map<String, Object> options = new LinkedHashMap<>();
        options.put("teacher", "teacher");
        options.put("data", "text.txt");
        options.putAll(more);
        return DistillSpec.read(Options.of(options));
    }

    private static void refused(Map<String, Object> options, String message) {
        assertThatThrownBy(() -> read(options))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining(message);
    }

    @Test
    void klIsTheLossUnlessAnotherHasAWeight() {
        assertThat(read(Map.of()).loss().kl()).isEqualTo(1);
        DistillSpec warm = read(Map.of("loss", Map.of("temperature", 2)));
        assertThat(warm.loss().kl()).isEqualTo(1);
        assertThat(warm.loss().temperature()).isEqualTo(2);
        assertThat(read(Map.of("loss", Map.of("ce", 0.5))).loss().kl()).isZero();
        assertThat(read(Map.of("loss", Map.of("hidden", 1))).loss().kl()).isZero();
    }

    @Test
    void whatWouldChangeNothingIsRefused() {
        refused(Map.of("blockwise", true, "loss", Map.of("kl", 1)), "kl would change nothing");
        refused(Map.of("blockwise", true, "patience", 2), "patience would change nothing");
        refused(Map.of("map", List.of(0, 1)), "no loss compares blocks");
        refused(Map.of("loss", Map.of("distance", "cosine")), "hidden has no weight");
        refused(Map.of("loss", Map.of("beta", 0.3)), "jsd has no weight");
        refused(Map.of("missing", "zero"), "only a teacherCache");
        refused(Map.of("loraTargets", List.of("q_proj")), "lora is not given");
        refused(Map.of("loss", Map.of("ce", 1, "temperature", 2)), "no loss asks the teacher");
        refused(Map.of("patience", 2, "holdout", 0), "no window is held out");
        refused(Map.of("lora", 4, "train", List.of("*")), "leave train out");
    }

    @Test
    void lossesThatPushAwayAreRefused() {
        refused(Map.of("loss", Map.of("kl", -1)), "expected 0 or more");
        refused(Map.of("loss", Map.of("kl", 0)), "nothing to learn");
    }

    @Test
    void numbersOutOfRangeAreRefused() {
        refused(Map.of("clip", -1), "clip is -1.0, expected 0.0 to");
        refused(Map.of("beta2", 1), "beta2 is 1.0");
        refused(Map.of("lr", 1e-60), "expected above 0");
        refused(Map.of("lr", Double.POSITIVE_INFINITY), "lr is Infinity, expected a number");
        refused(Map.of("batch", 1 << 20, "length", 4096), "tokens, expected 16,777,216 at most");
    }
}
