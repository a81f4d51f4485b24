// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/// Each of these ended the process, or went on for minutes, in the native library.
class TokenizerCheckTest {
    private static final String MODEL =
            "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a"
                    + " b\"]}";

    @TempDir Path directory;

    private Path write(String parts) throws IOException {
        return Files.writeString(
                directory.resolve("tokenizer.json"), "{\"version\":\"1.0\",%s}".formatted(parts));
    }

    private static String split(String pattern) {
        return MODEL
                + ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\",\"invert\":false}"
                        .formatted(pattern);
    }

    private static String template(String single, String special) {
        return MODEL
                + ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[%s],\"pair\":[],\"special_tokens\":{%s}}"
                        .formatted(single, special);
    }

    static Stream<Arguments> hostile() {
        String replace =
                "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaa\"}";
        String bpe = "\"model\":{\"type\":\"BPE\",\"vocab\":{%s},\"merges\":[%s]%s}";
        String added =
                MODEL + ",\"added_tokens\":[{\"id\":%s,\"content\":\"%s\",\"normalized\":%s}]";
        String s = "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}}";
        String b = "{\"Sequence\":{\"id\":\"B\",\"type_id\":0}}";
        String a = "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}";
        String norm = MODEL + ",\"normalizer\":";
        return Stream.of(
                arguments(
                        "a pattern of 5,000 characters, at most 2,048 are read",
                        split("a".repeat(5000))),
                arguments("pre_tokenizer.pattern: the pattern '(a+)+$'", split("(a+)+$")),
                arguments("nests its groups", split("(".repeat(500) + ")".repeat(500))),
                arguments(
                        "normalizer: the pattern",
                        norm
                                + "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(a|a)*$\"},\"content\":\"\"}"),
                arguments(
                        "normalizer.normalizers[1]: this and the steps before it",
                        norm
                                + "{\"type\":\"Sequence\",\"normalizers\":[%s]}"
                                        .formatted(
                                                String.join(
                                                        ",",
                                                        java.util.Collections.nCopies(
                                                                9, replace)))),
                arguments(
                        "normalizer.prepend: longer",
                        norm
                                + "{\"type\":\"Prepend\",\"prepend\":\"%s\"}"
                                        .formatted("x".repeat(1000))),
                arguments(
                        "decoder.type: a number that is too large",
                        MODEL + ",\"decoder\":{\"type\":-1e400}"),
                arguments(
                        "decoder.decoders: half of a surrogate pair",
                        MODEL + ",\"decoder\":{\"decoders\":[\"\\ud800\"]}"),
                arguments(
                        "nested more than 64 deep",
                        norm
                                + "{\"type\":\"Sequence\",\"normalizers\":[".repeat(3000)
                                + "]}".repeat(3000)),
                arguments(
                        "more than 100 steps",
                        norm
                                + "{\"type\":\"Sequence\",\"normalizers\":[%s]}"
                                        .formatted(
                                                "{\"type\":\"NFC\"},".repeat(200)
                                                        + "{\"type\":\"NFC\"}")),
                arguments(
                        "normalizer.precompiled_charsmap: its trie leads out of it",
                        norm
                                + "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"EAAAAP////////////8AAAAAAAAAAAAA\"}"),
                arguments(
                        "its trie does not fit",
                        norm + "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}"),
                arguments(
                        "not in Base64",
                        norm + "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!!!\"}"),
                arguments("model.vocab: expected an id", bpe.formatted("\"a\":8589934592", "", "")),
                arguments("model.vocab: expected an id", bpe.formatted("\"a\":4294967295", "", "")),
                arguments("model.vocab: expected an id", bpe.formatted("\"a\":-1", "", "")),
                arguments(
                        "'b' has not the prefix '##'",
                        bpe.formatted(
                                "\"a\":0,\"b\":1,\"ab\":2",
                                "\"a b\"",
                                ",\"continuing_subword_prefix\":\"##\"")),
                arguments("the id 4294967295", added.formatted("4294967295", "x", "false")),
                arguments("a token without content", added.formatted("5", "", "false")),
                arguments(
                        "more than 1,024 characters",
                        added.formatted("5", "x".repeat(5000), "false")),
                arguments(
                        "'a' is normalized to nothing",
                        added.formatted("5", "a", "true")
                                + ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"\"}"),
                arguments("'<s>' is not among special_tokens", template(s + "," + a, "")),
                arguments("expected the text A, and once", template(b, "")),
                arguments("expected the text A, and once", template(a + "," + a, "")),
                arguments(
                        "post_processor.special_tokens: the id 1099511627776",
                        template(
                                s,
                                "\"<s>\":{\"id\":\"<s>\",\"ids\":[1099511627776],\"tokens\":[\"<s>\"]}")),
                arguments(
                        "pre_tokenizer.length: 0",
                        MODEL + ",\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":0}"),
                arguments(
                        "decoder.stop: 1",
                        MODEL
                                + ",\"decoder\":{\"type\":\"Strip\",\"content\":\"a\",\"start\":1,\"stop\":1}"),
                arguments(
                        "max_input_chars_per_word",
                        "\"model\":{\"type\":\"WordPiece\",\"vocab\":{},\"unk_token\":\"?\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":1e30}"),
                arguments(
                        "this tokenizer fails on a text",
                        bpe.formatted("\"b\":1", "", ",\"unk_token\":\"?\"")));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("hostile")
    void whatWouldEndTheProcessIsRefused(String message, String parts) throws IOException {
        Path file = write(parts);
        assertThatThrownBy(() -> Tokenizer.open(file).close())
                .isInstanceOf(FormatException.class)
                .hasMessageContaining(file.toString())
                .hasMessageContaining(message);
    }

    @Test
    void aTextWithoutBreaksIsRefusedBeforeThePatternGivesUp() throws IOException {
        try (Tokenizer tokenizer = Tokenizer.open(write(split("\\\\s*[\\\\r\\\\n]+|\\\\s+")))) {
            assertThat(tokenizer.encode(" ".repeat(100_000), false)).isEmpty();
            String blanks = " ".repeat(12_000_000);
            assertThatThrownBy(() -> tokenizer.encode(blanks, false))
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("12,000,000 characters without a place to cut them");
        }
    }

    /// A trie of one entry, `a` to `b`: node 0, its child under `a`, and the leaf's value.
    @Test
    void aTableThatLeadsNowhereElsePasses() {
        int[] units = new int[512];
        units[0] = 256 << 10;
        units[256 ^ 'a'] = 'a' | 1 << 8 | ((256 ^ 'a') ^ 256) << 10;
        units[256] = 1 << 31;
        ByteBuffer bytes =
                ByteBuffer.allocate(4 + 4 * units.length + 2).order(ByteOrder.LITTLE_ENDIAN);
        bytes.putInt(4 * units.length);
        for (int unit : units) {
            bytes.putInt(unit);
        }
        bytes.put(new byte[] {'b', 0});
        assertThat(CharsMap.problem(Base64.getEncoder().encodeToString(bytes.array()))).isNull();
        bytes.putInt(4 + 4 * 256, 1 << 31 | 77);
        assertThat(CharsMap.problem(Base64.getEncoder().encodeToString(bytes.array())))
                .isEqualTo("its trie leads out of it");
    }
}
