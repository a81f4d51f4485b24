// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.llmc.model.arch.ModelDirectory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DraftingTest {
    private static final long DEPTH = 4096;

    @TempDir private Path dir;

    private Roofline llama() throws IOException {
        Path file = Files.writeString(dir.resolve("config.json"), Configs.LLAMA_8B);
        ModelCost model = ModelCost.of(ModelDirectory.outline(file));
        return new Roofline(new Serving(model, Configs.ALONE), Configs.ROUND);
    }

    /// Leviathan et al. (2023), theorem 3.8: of alpha = 0.8, gamma = 5 and c = 0.05, where a pass
    /// costs as much as a token, `(1 - 0.8^6) / (0.2 (5 * 0.05 + 1))`.
    @Test
    void gainsAsThePaperHasIt() {
        double expected = (1 - Math.pow(0.8, 6)) / (0.2 * (5 * 0.05 + 1));
        assertThat(Drafting.gain(_ -> 0.8, 5, 1, 0.05)).isCloseTo(expected, within(1e-12));
        assertThat(Drafting.gain(_ -> 0.8, 0, 1, 0.05)).isEqualTo(1);
    }

    /// What waits for memory reads its weights once, however many tokens are checked.
    @Test
    void aPassOverDraftedTokensCostsLittleMoreThanOne() throws IOException {
        Roofline target = llama();
        double one = target.decode(1, DEPTH).seconds();
        assertThat(target.check(1, DEPTH).seconds()).isCloseTo(one, within(1e-12));
        assertThat(target.check(9, DEPTH).seconds()).isBetween(one, 1.01 * one);
        assertThat(target.check(4096, DEPTH).seconds()).isGreaterThan(10 * one);
    }

    /// A draft as large as its model gains nothing; one that is always right and costs nothing
    /// gains all.
    @Test
    void theBestNumberOfDraftedTokensFollowsFromTheCosts() throws IOException {
        Roofline target = llama();
        Drafting itself = new Drafting(target, target, List.of(0.9), DEPTH);
        assertThat(itself.best()).isZero();
        assertThat(itself.speedup(4)).isLessThan(1);
        assertThat(Drafting.best(k -> Drafting.gain(_ -> 1, k, 1, 0))).isEqualTo(Drafting.MOST);
        assertThat(Drafting.best(k -> Drafting.gain(i -> i < 2 ? 0.9 : 0, k, 1, 0.1))).isEqualTo(2);
    }
}
