// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// What a data file is, is told by its name and by what is in it; `w0` to `w9` are ids 3 to 12.
class TextFilesTest {
    private static final String MARK = "\ufeff";

    @TempDir Path directory;
    private Tokenizer tokenizer;

    @BeforeEach
    void open() throws IOException {
        tokenizer = Tokenizer.open(TinyTokenizer.write(directory, false));
    }

    @AfterEach
    void close() {
        tokenizer.close();
    }

    private int[] ids(String name, byte[] bytes) throws IOException {
        return TextFiles.tokens(Files.write(directory.resolve(name), bytes), tokenizer);
    }

    private int[] ids(String name, String text) throws IOException {
        return ids(name, text.getBytes(StandardCharsets.UTF_8));
    }

    private void refused(String name, byte[] bytes, String message) {
        assertThatThrownBy(() -> ids(name, bytes))
                .isInstanceOfAny(FormatException.class, UserException.class)
                .hasMessageContaining(directory.resolve(name) + ": ")
                .hasMessageContaining(message);
    }

    private void refused(String name, String text, String message) {
        refused(name, text.getBytes(StandardCharsets.UTF_8), message);
    }

    @Test
    void recordsAreReadInEveryForm() throws IOException {
        String lines = "{\"text\": \"w0 w1\"}\n\n{\"text\": \"w2\", \"id\": 7}\r\n";
        String array = "[{\"text\": \"w0 w1\"},\n {\"text\": \"w2\"}]\n";
        for (String name : new String[] {"a.jsonl", "a.ndjson", "a.json", "A.JSONL"}) {
            assertThat(ids(name, lines)).containsExactly(3, 4, 5);
            assertThat(ids(name, array)).containsExactly(3, 4, 5);
            assertThat(ids(name, MARK + lines)).containsExactly(3, 4, 5);
            assertThat(ids(name, MARK + array)).containsExactly(3, 4, 5);
        }
        assertThat(ids("b.json", "[\"w0 w1\", \"w2\"]")).containsExactly(3, 4, 5);
        assertThat(ids("c.json", "{\"text\": \"w4\"}")).containsExactly(7);
        assertThat(ids("d.jsonl", lines + MARK + lines)).hasSize(6);
    }

    @Test
    void aByteOrderMarkIsNoToken() throws IOException {
        assertThat(ids("a.txt", MARK + "w0 w1")).containsExactly(3, 4);
        assertThat(ids("a", MARK + "w0 w1\r\nw2")).containsExactly(3, 4, 5);
    }

    @Test
    void recordsUnderTheNameOfATextAreRefused() throws IOException {
        refused("a.txt", "{\"text\": \"w0\"}\n{\"text\": \"w1\"}\n", "holds JSON records");
        refused("b.txt", MARK + "[{\"messages\": []}]", "holds JSON records");
        refused("c.csv", "text\nw0\n", "is a table");
        assertThat(ids("d.txt", "{ w0 }")).contains(3);
        assertThat(ids("e.txt", "{\"log\": 1}\n{\"log\": 2}")).isNotEmpty();
        assertThat(ids("f.txt", "[w0] w1")).contains(3, 4);
    }

    @ParameterizedTest
    @CsvSource({"UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE", "UTF-16"})
    void otherEncodingsAreNamed(String encoding) {
        Charset charset = Charset.forName(encoding);
        String family = encoding.substring(0, 6);
        for (String name : new String[] {"a.txt", "a.jsonl", "a.json", "tokenizer_config.json"}) {
            refused(name, (MARK + "w0 w1 w2").getBytes(charset), "is " + family + ", expected");
            refused(name, "w0 w1 w2 w3".getBytes(charset), "iconv -f " + family);
        }
        refused(
                "g.txt",
                "Привет, мир и все остальные".getBytes(StandardCharsets.UTF_16LE),
                "zero byte");
    }

    @ParameterizedTest
    @CsvSource({
        "H4sIAAAAAAAAAysx4AIA, a gzip file",
        "UEFSMRUEFQAVAA==, a parquet file",
        "QVJST1cxAAAA, an Arrow file",
        "KLUv/SAD, a zstd file",
        "/Td6WFoAAATm, an xz file",
        "UEsDBBQAAAAIAA==, a zip file",
        "JVBERi0xLjQK, a PDF document",
        "PCFET0NUWVBFIGh0bWw+PGh0bWw+, an HTML page",
        "dmVyc2lvbiBodHRwczovL2dpdC1sZnMuZ2l0aHViLmNvbS9zcGVjL3YxCm9pZCBzaGEyNTY6MDA=, a git-lfs"
                + " pointer",
        "AQIDAAQF, a zero byte"
    })
    void containersAndPagesAreNamed(String base64, String kind) {
        byte[] bytes = Base64.getDecoder().decode(base64);
        for (String name : new String[] {"a.txt", "a.jsonl", "a.json", "a.parquet", "a"}) {
            refused(name, bytes, kind);
        }
    }

    @Test
    void faultsAreNamedWithTheirPlace() {
        refused(
                "a.json",
                "[{\"text\": \"w0\"},\n{\"txt\": 1, \"b\": 2}]",
                "line 2: expected an object");
        refused("a.jsonl", "{\"txt\": 1, \"b\": 2}", "and it has txt, b");
        refused("b.json", "[{\"text\": \"w0\"}\n", "line 2: not valid JSON");
        refused("c.json", "[\"w0\"]\n[\"w1\"]", "line 2: more behind the end of the array");
        refused("d.json", "[]", "holds no text");
        refused("e.jsonl", "\n \n\r\n", "holds no text");
        refused(
                "f.jsonl",
                "{\n  \"text\": \"w0\"\n}",
                "line 1: not valid JSON: the record does not end on its line");
        refused("f.jsonl", "{\"text\": \"w0\"", "ends before '}'");
        refused("g.txt", new byte[] {'w', '0', ' ', (byte) 0xff}, "byte 3: not UTF-8");
        refused("h.jsonl", new byte[] {'{', '}', '\n', (byte) 0xc3, '('}, "expected an object");
        refused("i.json", new byte[] {'[', '"', (byte) 0xc3, '"', ']'}, "byte 2: not UTF-8");
        refused("j.txt", "w0 \0 w1", "byte 3: a zero byte");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '^',
            value = {
                "{\"text\": \"w0\"} {\"text\": \"w1\"} | line 1: not valid JSON: expected the end",
                "{\"text\": \"w0\"}, | line 1: not valid JSON: expected the end, but ',' follows",
                "// w0 | line 1: not valid JSON: expected a value, but found a comment",
                "{\"text\": 'w0'} | JSON has double quotes",
                "w0 w1 | line 1: not valid JSON: expected a value, but found 'w0'",
                "{\"text\": null} | but its \"text\" is null",
                "{\"text\": [\"w0\"]} | but its \"text\" is a list",
                "{\"text\": 3} | but its \"text\" is a number",
                "3 | but found a number",
                "{} | but it is empty",
            })
    void faultsAreToldInWordsOfTheFile(String line, String message) {
        refused("a.jsonl", line + "\n", message);
        refused("a.json", line + "\n", message);
        refused("b.json", "[{\"text\": \"w0\"},\n{\"text\": 'w1'}]", "line 2: not valid JSON");
        refused("b.json", "[{\"text\": \"w0\"},\n{\"text\": 'w1'}]", "double quotes");
    }

    @Test
    void numbersThatPythonWritesAreNoFault() throws IOException {
        assertThat(ids("a.jsonl", "{\"score\": NaN, \"text\": \"w0 w1\"}\n"))
                .isEqualTo(ids("a.txt", "w0 w1"));
    }
}
