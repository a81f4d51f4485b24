// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.formats.FormatException;
import io.llmc.formats.OpenFile;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.tokenizer.ChatTemplate;
import io.llmc.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GgufTokenizerTest {
    private static final List<String> TOKENS = List.of("a", "b", "c", "ab", "<s>", "<x>", "[PAD6]");

    @TempDir Path temp;

    /// Vocabularies of llama.cpp with texts and the ids that the original tokenizers give.
    @ParameterizedTest
    @ValueSource(strings = {"gpt-2", "refact", "starcoder"})
    void splitsAsTheOriginal(String name) throws IOException {
        Path file = TestFiles.shared("tokenizers/ggml-vocab-" + name + ".gguf");
        assumeTrue(Files.exists(file), "no vocabularies beside the checkout");
        String json;
        try (OpenFile open = OpenFile.open(file)) {
            json = new GgufTokenizer(GgufHeader.read(open).metadata()).json().orElseThrow();
        }
        String[] texts =
                Files.readString(file.resolveSibling(file.getFileName() + ".inp"))
                        .split("\n__ggml_vocab_test__\n", -1);
        List<String> ids = Files.readAllLines(file.resolveSibling(file.getFileName() + ".out"));
        Path tokenizer = Files.writeString(temp.resolve("tokenizer.json"), json);
        int compared = 0;
        try (Tokenizer t = Tokenizer.open(tokenizer)) {
            for (int i = 0; i < ids.size(); i++) {
                int[] expected =
                        Stream.of(ids.get(i).trim().split(" +", -1))
                                .filter(s -> !s.isEmpty())
                                .mapToInt(Integer::parseInt)
                                .toArray();
                assertThat(t.encode(texts[i], false)).as("'%s'", texts[i]).isEqualTo(expected);
                compared++;
            }
        }
        assertThat(compared).isGreaterThan(40);
    }

    private static GgufBytes model(String pre) {
        ByteBuffer types =
                ByteBuffer.allocate(12 + 4 * TOKENS.size()).order(ByteOrder.LITTLE_ENDIAN);
        types.putInt(5).putLong(TOKENS.size());
        for (int type : new int[] {1, 1, 1, 1, 3, 4, 5}) {
            types.putInt(type);
        }
        return GgufBytes.llama()
                .text("tokenizer.ggml.model", "gpt2")
                .text("tokenizer.ggml.pre", pre)
                .texts("tokenizer.ggml.tokens", TOKENS)
                .key("tokenizer.ggml.token_type", 9, types)
                .texts("tokenizer.ggml.merges", List.of("a b"))
                .u32("tokenizer.ggml.bos_token_id", 4);
    }

    private Path write(GgufBytes bytes) throws IOException {
        return Files.write(temp.resolve("model.gguf"), bytes.toBytes());
    }

    private static int[] encode(Path model, String text) {
        try (Checkpoint c = Checkpoint.open(model);
                Tokenizer t = Tokenizer.open(c)) {
            return t.encode(text, true);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"gpt-2", "llama-bpe", "qwen2", "smollm"})
    void mergesAndAddedTokensAndTheFirst(String pre) throws IOException {
        Path file = write(model(pre));
        int[] plain = {3, 2, 5, 4, 0};
        int[] framed = {4, 3, 2, 5, 4, 0};
        assertThat(encode(file, "abc<x><s>a")).isEqualTo(pre.equals("llama-bpe") ? framed : plain);
        ByteBuffer yes = ByteBuffer.allocate(1).put(0, (byte) 1);
        file = write(model(pre).key("tokenizer.ggml.add_bos_token", 7, yes));
        assertThat(encode(file, "abc<x><s>a")).isEqualTo(framed);
    }

    @Test
    void vocabulariesOfEveryKindSayWhereTextsBeginAndEnd() throws IOException {
        GgufBytes unknown = model("unheard-of").u32("tokenizer.ggml.eos_token_id", 5);
        try (Checkpoint c = Checkpoint.open(write(unknown))) {
            assertThat(c.text("tokenizer.json")).isEmpty();
            assertThat(c.text("generation_config.json"))
                    .contains("{\"bos_token_id\":4,\"eos_token_id\":5}");
        }
    }

    @Test
    void itsTemplateWritesConversations() throws IOException {
        String template =
                "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}";
        try (Checkpoint none = Checkpoint.open(write(model("unheard-of")))) {
            assertThat(ChatTemplate.open(none)).isEmpty();
        }
        Path file = write(model("gpt-2").text("tokenizer.chat_template", template));
        try (Checkpoint c = Checkpoint.open(file)) {
            List<ChatTemplate.Message> said = List.of(new ChatTemplate.Message("user", "abc"));
            assertThat(ChatTemplate.open(c).orElseThrow().render(said)).isEqualTo("<s>[user] abc");
        }
        Path broken = write(model("gpt-2").text("tokenizer.chat_template", "{% for %}"));
        try (Checkpoint c = Checkpoint.open(broken)) {
            assertThatThrownBy(() -> ChatTemplate.open(c))
                    .isInstanceOf(FormatException.class)
                    .hasMessageContaining("line 1 of the chat template");
        }
    }

    @Test
    void aTokenizerBesideTheFileGoesFirst() throws IOException {
        Path file = write(model("unheard-of"));
        assertThatThrownBy(() -> encode(file, "a"))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("has no tokenizer.json");
        Path tale = TestFiles.testdata().resolve("tale-llama/tokenizer.json");
        Files.copy(tale, temp.resolve("tokenizer.json"));
        assertThat(encode(file, "a")).hasSize(1);
    }

    @Test
    void refusesWhatIsNoVocabulary() throws IOException {
        for (String key : List.of("tokenizer.ggml.tokens", "tokenizer.ggml.merges")) {
            Path file = write(model("gpt-2").u32(key, 1));
            assertThatThrownBy(() -> encode(file, "a"))
                    .hasMessageContaining("'%s' is 1, expected a list of texts".formatted(key));
        }
        Path twice = write(model("gpt-2").texts("tokenizer.ggml.tokens", List.of("a", "a")));
        assertThatThrownBy(() -> encode(twice, "a")).hasMessageContaining("no token twice");
        Path outside = write(model("llama-bpe").u32("tokenizer.ggml.bos_token_id", 99));
        assertThatThrownBy(() -> encode(outside, "a"))
                .hasMessageContaining("'tokenizer.ggml.bos_token_id' is 99");
    }
}
