// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// What people and broken downloads do to JSON, and the sentence that each gets.
class JsonFaultTest {
    private static final Pattern JARGON =
            Pattern.compile(
                    "(?i)token|code \\d|START_|END_|VALUE_|jackson|non-standard|Feature|java");

    @TempDir Path directory;

    private Path file(byte[] text) throws IOException {
        return Files.write(directory.resolve("config.json"), text);
    }

    private void refuses(String text, String... words) throws IOException {
        refuses(text.getBytes(StandardCharsets.UTF_8), words);
    }

    private void refuses(byte[] text, String... words) throws IOException {
        Path file = file(text);
        assertThatThrownBy(() -> Json.readObject(file))
                .hasMessageStartingWith(file + ": ")
                .hasMessageContainingAll(words)
                .hasMessageNotContainingAny("\n")
                .extracting(Throwable::getMessage)
                .asString()
                .doesNotContainPattern(JARGON);
    }

    @Test
    void namesTheHabitsOfOtherLanguages() throws IOException {
        refuses("{\n  // sizes\n  \"a\": 1\n}", "line 2, column 3", "a comment");
        refuses("{\"a\": 1, # sizes\n \"b\": 2}", "line 1, column 10", "a comment");
        refuses("/* sizes */ {}", "line 1, column 1", "a comment");
        refuses("{\"a\": 1 /* one */}", "a comment");
        refuses("{\n  \"a\": 1,\n}", "line 3, column 1", "comma before '}'");
        refuses("{\"a\": [1, 2,]}", "line 1, column 13", "comma before ']'");
        refuses("{\"a\": 1,, \"b\": 2}", "two commas");
        refuses("{'a': 1}", "line 1, column 2", "'", "double quotes");
        refuses("{\"a\": 'b'}", "double quotes");
        refuses("{\u201ca\u201d: 1}", "\u201c", "double quotes");
        refuses("{a: 1}", "line 1, column 2", "key in double quotes", "'a'");
        refuses("{\"a\": True}", "line 1, column 7", "'True' is Python's");
        refuses("{\"a\": None}", "write null");
        refuses("{\"a\": +1}", "'+1' is no number");
        refuses("{\"a\": 007}", "'007' is no number");
        refuses("{\"a\": .5}", "'.5' is no number");
        refuses("{\"a\": 0x10}", "'0x10' is no number");
        refuses("{\"a\" 1}", "expected ':'", "'1'");
        refuses("{\"a\": }", "a value is missing");
        refuses("{\"a\": 1 \"b\": 2}", "line 1, column 9", "expected ','");
        refuses("{\"a\": \"x\ny\"}", "a line ends inside of a string");
        refuses("{\"a\": \"C:\\data\"}", "'\\d'", "backslash");
        refuses("{\"a\": \"\u0001\"}", "U+0001");
        refuses("{\"a\": 1}\n{\"b\": 2}", "line 2, column 1", "expected the end");
        refuses("<<<<<<< HEAD\n{}", "merge conflict");
        refuses("{\"a\": 1, \"a\": 2}", "\"a\" is there twice");
        refuses("model_type: llama", "line 1, column 1", "model_type");
    }

    @Test
    void namesWhereATextWasCutShort() throws IOException {
        String whole = "{\n \"a\": [1, {\"b\": \"\\u00e9\"}],\n \"c\": -1.5e3\n}";
        for (int length = 1; length < whole.length(); length++) {
            refuses(whole.substring(0, length), "line ");
        }
        refuses("{\n \"a\": [1,", "line 2, column 10", "'[' of line 2", "cut short");
        refuses("{\"a\": \"bcd", "string that begins in line 1", "cut short");
        assertThat(Json.readObject(file(whole.getBytes(StandardCharsets.UTF_8)))).hasSize(2);
    }

    @Test
    void readsWhatIsClear() throws IOException {
        String text = "{\"a\": NaN, \"b\": -Infinity, \"c\": \"\u00e9\"}";
        assertThat(Json.readObject(file(("\ufeff" + text).getBytes(StandardCharsets.UTF_8))))
                .as("the mark of an editor says nothing")
                .hasSize(3);
        assertThat(Json.readObject(file(text.getBytes(StandardCharsets.UTF_16))).get("c").asText())
                .isEqualTo("\u00e9");
    }

    @Test
    void namesBytesThatAreNoText() throws IOException {
        refuses(new byte[] {'{', '"', 'a', (byte) 0xff, '"', ':', '1', '}'}, "column 4", "UTF-8");
        refuses("{\"a\": 1,}".getBytes(StandardCharsets.UTF_16LE), "comma before '}'");
        refuses("\ufeff{'a': 1}", "column 3", "double quotes");
        refuses(new byte[] {'{', 0, 0, 0, 1, 2, 3}, "line 1");
    }

    @Test
    void namesOtherKindsOfFiles() throws IOException {
        refuses("", "empty");
        refuses("  \n ", "expected a JSON object");
        refuses("[1]", "expected a JSON object");
        refuses("<!DOCTYPE html>\n<html>", "an HTML page", "expected a JSON object");
        refuses(
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
                "a git-lfs pointer");
        refuses(new byte[] {0x1f, (byte) 0x8b, 8, 0, 0}, "a gzip file");
        Files.createDirectory(directory.resolve("dir"));
        assertThatThrownBy(() -> Json.readObject(directory.resolve("dir")))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("is a directory");
        Path link = Files.createSymbolicLink(directory.resolve("link"), Path.of("blobs/gone"));
        assertThatThrownBy(() -> Json.readObject(link))
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll("is a link to blobs/gone", "not there");
    }

    @Test
    void boundsWhatItHolds() throws IOException {
        refuses("{\"a\": " + "[".repeat(50) + "]".repeat(50) + "}", "depth of more than 32");
        refuses("[".repeat(1_000_000), "depth of more than 32");
        refuses("{\"a\": " + "9".repeat(100_000) + "}", "longer values than any");
        StringBuilder keys = new StringBuilder("{\"k\":0");
        for (int i = 0; i < 1_000_000; i++) {
            keys.append(",\"").append(i).append("\":0");
        }
        refuses(keys.append('}').toString(), "more or longer values than any");
    }
}
