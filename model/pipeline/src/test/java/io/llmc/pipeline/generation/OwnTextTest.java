// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.Progress;
import io.llmc.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OwnTextTest {
    private static final Path TALE = TestFiles.testdata().resolve("tale-llama");

    @TempDir private Path directory;

    private static int[] write(Path model, int windows, int length, long seed, int part) {
        try (Backend backend = new CpuBackend(BackendOptions.defaults());
                Checkpoint c = Checkpoint.open(model)) {
            return new OwnText(c, backend, Progress.NONE).write(windows, length, seed, part);
        }
    }

    private static String decoded(Path model, int[] ids) {
        try (Tokenizer t = Tokenizer.open(model.resolve("tokenizer.json"))) {
            return t.decode(ids);
        }
    }

    /// More documents than go on together, so that places are taken over.
    @Test
    void aSeedMeansATextOfItsOwn() {
        int[] text = write(TALE, 20, 24, 1, 0);
        assertThat(text).hasSize(480).isEqualTo(write(TALE, 20, 24, 1, 0));
        assertThat(text).isNotEqualTo(write(TALE, 20, 24, 2, 0));
        assertThat(text).isNotEqualTo(write(TALE, 20, 24, 1, 1));
        // The end token begins texts of this model, and is no part of them.
        assertThat(IntStream.of(text).filter(id -> id == 0).count()).isZero();
        assertThat(decoded(TALE, text)).contains(" said ").doesNotContain("\ufffd");
    }

    /// Its words and no others come up as often as in the text that the model has learned: a draw
    /// from another distribution would not have one in forty be "the".
    @Test
    void textIsDrawnFromTheModel() throws IOException {
        String own = decoded(TALE, write(TALE, 16, 128, 3, 0));
        String learned = Files.readString(TALE.resolve("calibration.txt"));
        for (String word : new String[] {" the ", " said ", " a ", "\n"}) {
            assertThat(share(own, word))
                    .as(word)
                    .isBetween(share(learned, word) / 2, share(learned, word) * 2);
        }
    }

    private static double share(String text, String word) {
        return (double) text.split(java.util.regex.Pattern.quote(word), -1).length / text.length();
    }

    @Test
    void aModelThatTalksWritesBothSides() throws IOException {
        Path model = copy();
        Files.writeString(
                model.resolve("chat_template.jinja"),
                "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
                        + "{% if add_generation_prompt %}<assistant>{% endif %}");
        int[] text = write(model, 6, 48, 1, 0);
        assertThat(text).isEqualTo(write(model, 6, 48, 1, 0));
        assertThat(decoded(model, text))
                .startsWith("<user> ")
                .matches(t -> t.split("<assistant>", -1).length >= 4)
                .matches(t -> t.split("<user> ", -1).length >= 4);
        // One that refuses a user's message alone: plain text.
        Files.writeString(
                model.resolve("chat_template.jinja"), "{{ raise_exception('no user here') }}");
        assertThat(write(model, 6, 48, 1, 0)).isEqualTo(write(TALE, 6, 48, 1, 0));
    }

    @Test
    void aModelThatEndsAtOnceIsRefused() throws IOException {
        Path model = copy();
        StringBuilder all = new StringBuilder("0");
        IntStream.range(1, 1024).forEach(i -> all.append(", ").append(i));
        Files.writeString(
                model.resolve("generation_config.json"), "{\"eos_token_id\": [" + all + "]}");
        assertThatThrownBy(() -> write(model, 2, 16, 0, 0))
                .isInstanceOf(UserException.class)
                .hasMessage(
                        "the model ends its texts so early that 32 of them have 0 of 32 tokens");
    }

    private Path copy() throws IOException {
        try (Stream<Path> files = Files.list(TALE)) {
            for (Path file : files.toList()) {
                Files.copy(file, directory.resolve(file.getFileName()));
            }
        }
        return directory;
    }
}
