// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Published tokenizers over a whole text. Set LLMC_MODELS to the directory of the models,
/// LLMC_TEXTS to that of wiki.test.raw and wiki.valid.raw.
@Tag("slow")
class RealTokenizersTest {
    @ParameterizedTest
    @CsvSource({
        "SmolLM2-135M-Instruct, wiki.test.raw, 303415, false",
        "SmolLM2-135M-Instruct, wiki.valid.raw, 266981, false",
        "gemma-3-270m, wiki.test.raw, 295216, true",
        "gemma-3-270m, wiki.valid.raw, 259888, true"
    })
    void wholeTextHasAsManyIdsAsInOtherTools(String model, String file, int count, boolean bos) {
        Path tokenizer = path("LLMC_MODELS", model + "/tokenizer.json");
        String text = TextFiles.read(path("LLMC_TEXTS", file));
        try (Tokenizer t = Tokenizer.open(tokenizer)) {
            assertThat(t.bos().isPresent()).isEqualTo(bos);
            assertThat(t.encode(text, true)).hasSize(count);
            int[] whole = t.encodeWhole(text, false);
            assertThat(whole).hasSize(bos ? count - 1 : count);
            assertThat(t.encode(text, false)).isEqualTo(whole);
            assertThat(t.decode(whole)).isEqualTo(text);
        }
    }

    private static Path path(String variable, String name) {
        String directory = System.getenv(variable);
        assumeTrue(directory != null, () -> "skipped: set " + variable + " to find " + name);
        Path path = Path.of(directory, name);
        assumeTrue(Files.exists(path), () -> "skipped: there is no " + path);
        return path;
    }
}
