// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.FormatException;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ChatTemplateTest {
    private static final String TEMPLATE =
            "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{%"
                    + " endfor %}";

    @TempDir Path model;

    @BeforeEach
    void copyTokenizer() throws IOException {
        Path bundled = TestFiles.testdata().resolve("tale-llama/tokenizer.json");
        Files.copy(bundled, model.resolve("tokenizer.json"));
        config("\"chat_template\": \"none of this: {{\"");
        Files.writeString(model.resolve("chat_template.jinja"), TEMPLATE);
    }

    private void config(String more) throws IOException {
        Files.writeString(
                model.resolve("tokenizer_config.json"),
                "{\"bos_token\": {\"content\": \"<|endoftext|>\"}, \"eos_token\": \"<|endoftext|>\", %s}"
                        .formatted(more));
    }

    private String text(String... lines) throws IOException {
        Path file = Files.writeString(model.resolve("a.jsonl"), String.join("\n", lines));
        try (Tokenizer tokenizer = Tokenizer.open(model.resolve("tokenizer.json"))) {
            int[] ids = TextFiles.tokens(file, tokenizer);
            String text = tokenizer.decode(ids);
            assertThat(ids).isEqualTo(tokenizer.encode(text, false));
            return text;
        }
    }

    private static String user(String content) {
        return "{\"messages\": [{\"role\": \"user\", \"content\": %s}]}".formatted(content);
    }

    @Test
    void conversationsAndTextsStandInOneFile() throws IOException {
        assertThat(text(user("\"Hi {{ 1 }}\""), "", "{\"text\": \"plain\"}", user("\"b\"")))
                .isEqualTo(
                        "<|endoftext|>user: Hi {{ 1 }}<|endoftext|>plain<|endoftext|>user:"
                                + " b<|endoftext|>");
    }

    @Test
    void aSpelledSpecialTokenIsOneId() throws IOException {
        Path file = Files.writeString(model.resolve("b.jsonl"), user("\"a\""));
        try (Tokenizer tokenizer = Tokenizer.open(model.resolve("tokenizer.json"))) {
            int[] ids = TextFiles.tokens(file, tokenizer);
            assertThat(ids[0]).isZero();
            assertThat(ids[ids.length - 1]).isZero();
        }
    }

    @Test
    void partsAreJoinedForATemplateThatKnowsNone() throws IOException {
        String parts =
                "[{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", \"text\": \"b\"}]";
        assertThat(text(user(parts))).contains("user: ab<");
        Files.writeString(
                model.resolve("chat_template.jinja"),
                "{% for p in messages[0].content %}[{{ p.text }}]{% endfor %}");
        assertThat(text(user(parts))).isEqualTo("[a][b]");
    }

    @Test
    void theTemplateMayStandInTheConfiguration() throws IOException {
        Files.delete(model.resolve("chat_template.jinja"));
        config("\"chat_template\": \"one {{ messages[0].content }}\"");
        assertThat(text(user("\"a\""))).isEqualTo("one a");
        config(
                "\"chat_template\": [{\"name\": \"rag\", \"template\": \"x\"}, {\"name\":"
                        + " \"default\", \"template\": \"two\"}]");
        assertThat(text(user("\"a\""))).isEqualTo("two");
    }

    private void refused(Class<? extends Throwable> type, String message, String... lines) {
        assertThatThrownBy(() -> text(lines)).isInstanceOf(type).hasMessageContaining(message);
    }

    @Test
    void badInputIsOneSentence() throws IOException {
        String good = "{\"text\": \"a\"}";
        refused(
                FormatException.class,
                "line 2: \"messages\" is no list",
                good,
                "{\"messages\": 3}");
        refused(FormatException.class, "line 1: \"messages\" is no list", "{\"messages\": []}");
        refused(
                FormatException.class,
                "message 1 has no string under \"role\"",
                "{\"messages\": [1]}");
        refused(
                FormatException.class,
                "a.jsonl: line 2: the content of message 1",
                good,
                user("3"));
        refused(FormatException.class, "the content of message 1", user("[{\"type\": \"image\"}]"));
        refused(FormatException.class, "line 1: has both", "{\"text\": \"a\", \"messages\": []}");
        Files.writeString(
                model.resolve("chat_template.jinja"), "\n{{ raise_exception('users only') }}");
        refused(
                FormatException.class,
                "a.jsonl: line 2: the model's chat template (chat_template.jinja, line 2) refuses"
                        + " the messages: users only",
                good,
                user("\"a\""));
        Files.writeString(model.resolve("chat_template.jinja"), "a\n{% wrong %}");
        refused(
                FormatException.class,
                "chat_template.jinja: line 2 of the chat template: unknown tag wrong",
                user("\"a\""));
        Files.delete(model.resolve("chat_template.jinja"));
        config("\"chat_template\": [{\"name\": \"rag\"}]");
        refused(
                FormatException.class,
                "tokenizer_config.json: chat_template: expected",
                user("\"a\""));
        config("\"x\": 1");
        refused(UserException.class, "a.jsonl: line 2: has \"messages\", but", good, user("\"a\""));
    }
}
