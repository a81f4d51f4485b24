// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.ModelDirectory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Sizes against those that are published, and those of files.
class ModelCostTest {
    @TempDir private Path dir;

    private ModelCost cost(String config) {
        try {
            Path file = Files.writeString(dir.resolve("config.json"), config);
            return ModelCost.of(ModelDirectory.outline(file));
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    /// The model card: 8.03 billion parameters; 128 KiB a token follow from 32 layers of 8 heads of
    /// 128 channels, twice, in two bytes.
    @Test
    void llama31Of8Billions() {
        ModelCost cost = cost(Configs.LLAMA_8B);
        assertThat(cost.parameters()).isEqualTo(8_030_261_248L);
        assertThat(cost.bytes()).isEqualTo(2 * 8_030_261_248L);
        assertThat(cost.bitsPerWeight()).isEqualTo(16);
        Serving serving = new Serving(cost, Configs.ALONE);
        assertThat(serving.cachePerToken()).isEqualTo(128 * 1024);
        assertThat(serving.weights()).isEqualTo(cost.bytes());
    }

    /// 46.7 billion parameters, of which a token uses 12.9 (Jiang et al., 2024, arXiv 2401.04088);
    /// the embedding, of which it uses a row, not counted.
    @Test
    void mixtralOf8Times7Billions() {
        ModelCost cost = cost(Configs.MIXTRAL);
        assertThat(cost.parameters()).isEqualTo(46_702_792_704L);
        assertThat(cost.active() / 1e9).isCloseTo(12.9 - 0.13, within(0.05));
    }

    /// Five of six layers keep 512 tokens.
    @Test
    void gemma3KeepsWindows() {
        ModelCost cost = cost(Configs.GEMMA_1B);
        assertThat(cost.parameters()).isEqualTo(999_885_952L);
        Serving serving = new Serving(cost, Configs.ALONE);
        double layer = 2 * 256 * 2;
        assertThat(serving.cachePerToken()).isEqualTo(26 * layer);
        // 4 layers of 32,768 tokens, 22 of a window, which may touch one page more.
        assertThat(serving.cache(32_768)).isEqualTo(4 * 32_768 * layer + 22 * 528 * layer);
        assertThat(serving.cache(100)).isEqualTo(26 * 112 * layer);
    }

    /// Three layers keep latents of 20 channels and a turning part of 8, in two of them an indexer
    /// keeps a key of 14; a token looks at 7 keys.
    @Test
    void indexersKeepKeysOfTheirOwn() throws IOException {
        Path config = TestFiles.shared("oracles/architectures/glm_moe_dsa/config.json");
        assumeTrue(Files.exists(config), "no ../shared");
        ModelCost cost = cost(Files.readString(config));
        assertThat(new Serving(cost, Configs.ALONE).cachePerToken())
                .isEqualTo(2 * (3 * 28 + 2 * 14));
        assertThat(cost.blocks().getFirst().attentions())
                .extracting(a -> a.span(5), a -> a.span(1000))
                .containsExactly(tuple(5L, 7L), tuple(5L, 1000L));
    }

    static Stream<Path> models() {
        return Stream.concat(
                TestFiles.directories(TestFiles.testdata(), "tiny-"),
                TestFiles.directories(TestFiles.testdata(), "tale-"));
    }

    /// A config alone says what its files hold.
    @ParameterizedTest
    @MethodSource("models")
    void aConfigAloneSaysWhatItsFilesHold(Path model) {
        try (Checkpoint files = ModelDirectory.open(model, _ -> {});
                Checkpoint alone = ModelDirectory.outline(model.resolve("config.json"))) {
            ModelCost expected = ModelCost.of(files);
            ModelCost got = ModelCost.of(alone);
            assertThat(got.parameters()).isEqualTo(expected.parameters());
            assertThat(got.blocks().size()).isEqualTo(expected.blocks().size());
            double width = (double) expected.bytes() / got.bytes();
            assertThat(width).describedAs("one type throughout").isIn(0.5, 1.0, 2.0);
            for (int i = 0; i < got.blocks().size(); i++) {
                assertThat(got.blocks().get(i).bytes() * width)
                        .isEqualTo(expected.blocks().get(i).bytes());
            }
            assertThat(got.bytes())
                    .isEqualTo(
                            got.blocks().stream().mapToLong(BlockCost::bytes).sum()
                                    + got.head().bytes()
                                    + got.embedding()
                                    + got.rest());
        }
    }
}
