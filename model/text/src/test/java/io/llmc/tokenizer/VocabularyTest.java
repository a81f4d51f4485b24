// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.FormatException;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class VocabularyTest {
    @TempDir Path temp;

    private Path file(String name, String json) throws IOException {
        return Files.writeString(temp.resolve(name), json);
    }

    @Test
    void bothSpellingsOfAVocabularyAreRead() throws IOException {
        String added =
                "\"added_tokens\":[{\"id\":1,\"content\":\"<s>\",\"special\":true},{\"id\":7,\"content\":\"<e>\"}]";
        Map<Integer, String> expected = new TreeMap<>(Map.of(0, "a", 1, "<s>", 2, "c", 7, "<e>"));
        Path object =
                file(
                        "object.json",
                        "{%s,\"model\":{\"merges\":[[\"a\",\"b\"]],\"vocab\":{\"c\":2,\"a\":0,\"b\":1}}}"
                                .formatted(added));
        Path list =
                file(
                        "list.json",
                        "{\"model\":{\"vocab\":[[\"a\",0],[\"b\",-1.5],[\"c\",-2e-3]],\"unk_id\":0},%s}"
                                .formatted(added));
        assertThat(Vocabulary.read(object).tokens()).isEqualTo(expected);
        assertThat(Vocabulary.read(list).tokens()).isEqualTo(expected);
        assertThatCode(() -> Vocabulary.requireSame(object, list)).doesNotThrowAnyException();
    }

    @Test
    void fiveDifferencesAreShownWithBothTokens() throws IOException {
        Path student =
                file(
                        "s.json",
                        "{\"model\":{\"vocab\":{\"same\":0,\"Ġthe\":17,\"a\\u001b[2J\":18,\"c\":19,\"d\":20,\"e\":21,\"f\":22}}}");
        Path teacher =
                file(
                        "t.json",
                        "{\"model\":{\"vocab\":{\"same\":0,\"_the\":17,\"c\":18,\"d\":20,\"k\":19,\"l\":21,\"m\":22,\"n\":23}}}");
        assertThatThrownBy(() -> Vocabulary.requireSame(student, teacher))
                .isInstanceOf(UserException.class)
                .hasMessage(
                        "token ids differ: 17 is \"Ġthe\" for the student and \"_the\" for the"
                                + " teacher, 18 is \"a\\u001b[2J\" for the student and \"c\" for the"
                                + " teacher, 19 is \"c\" for the student and \"k\" for the teacher, 21"
                                + " is \"e\" for the student and \"l\" for the teacher, 22 is \"f\" for"
                                + " the student and \"m\" for the teacher and 1 more");
    }

    @Test
    void filesOfTheSameBytesAreNotRead() throws IOException {
        Path one = file("one.json", "no JSON");
        Path other = file("other.json", "no JSON");
        assertThatCode(() -> Vocabulary.requireSame(one, other)).doesNotThrowAnyException();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "[]",
                "{}",
                "{\"model\":{}}",
                "{\"model\":[]}",
                "{\"model\":{\"vocab\":5}}",
                "{\"model\":{\"vocab\":{\"a\":-1}}}",
                "{\"model\":{\"vocab\":{\"a\":99999999999999999999}}}",
                "{\"model\":{\"vocab\":{\"a\":1.5}}}",
                "{\"model\":{\"vocab\":{\"a\":{}}}}",
                "{\"model\":{\"vocab\":[\"a\"]}}",
                "{\"model\":{\"vocab\":[[\"a\"]]}}",
                "{\"model\":{\"vocab\":[[\"a\",",
                "{\"model\":{\"vocab\":[[\"a\",1,2]]}}",
                "{\"model\":{\"vocab\":{\"a\":0}},\"added_tokens\":[{\"id\":1}]}",
                "{\"model\":{\"vocab\":{\"a\":0}},\"added_tokens\":{}}",
                "{\"model\":{\"vocab\":{\"a\":0}"
            })
    void damagedFilesAreNamed(String json) throws IOException {
        Path file = file("bad.json", json);
        assertThatThrownBy(() -> Vocabulary.read(file))
                .isInstanceOf(FormatException.class)
                .hasMessageStartingWith(file.toString());
    }

    @Test
    void deepAndLongInputIsRefused() throws IOException {
        Path deep = file("deep.json", "{\"x\":" + "[".repeat(100_000));
        assertThatThrownBy(() -> Vocabulary.read(deep)).isInstanceOf(FormatException.class);
        Path token =
                file("long.json", "{\"model\":{\"vocab\":[[\"" + "a".repeat(70_000) + "\",0]]}}");
        assertThatThrownBy(() -> Vocabulary.read(token))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("at most 2,097,152 tokens");
    }

    @Test
    void theBundledTokenizerIsRead() throws IOException {
        assertReadsLikeATree(TestFiles.testdata().resolve("tale-llama/tokenizer.json"));
    }

    /// Set LLMC_MODELS to a directory of models.
    @Test
    void publishedTokenizersAreRead() throws IOException {
        String models = System.getenv("LLMC_MODELS");
        assumeTrue(models != null, "skipped: set LLMC_MODELS to a directory of models");
        List<Path> files;
        try (Stream<Path> tree = Files.walk(Path.of(models), 4)) {
            files = tree.filter(f -> f.endsWith("tokenizer.json")).sorted().toList();
        }
        assumeTrue(!files.isEmpty(), () -> "skipped: no tokenizer.json in " + models);
        for (Path file : files) {
            assertReadsLikeATree(file);
        }
    }

    /// Against the whole file as a tree.
    private static void assertReadsLikeATree(Path file) throws IOException {
        JsonNode root = new ObjectMapper().readTree(file.toFile());
        Map<Integer, String> expected = new TreeMap<>();
        JsonNode vocab = root.at("/model/vocab");
        if (vocab.isObject()) {
            vocab.properties().forEach(e -> expected.put(e.getValue().intValue(), e.getKey()));
        } else {
            vocab.forEach(pair -> expected.put(expected.size(), pair.get(0).textValue()));
        }
        root.path("added_tokens")
                .forEach(t -> expected.put(t.get("id").intValue(), t.get("content").textValue()));
        assertThat(expected).isNotEmpty();
        assertThat(Vocabulary.read(file).tokens()).as("%s", file).isEqualTo(expected);
    }
}
