// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static io.llmc.tokenizer.CalibrationSpec.Order.FIRST;
import static io.llmc.tokenizer.CalibrationSpec.Order.RANDOM;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CalibrationDataTest {
    @TempDir Path directory;
    private Tokenizer tokenizer;

    @BeforeEach
    void open() throws IOException {
        tokenizer = Tokenizer.open(TinyTokenizer.write(directory, true));
    }

    @AfterEach
    void close() {
        tokenizer.close();
    }

    @Test
    void takesTheFirstWindows() throws IOException {
        Path text = text("a.txt", "w0 w1 w2 w3 w4 w5 w6 w7 w8");
        assertThat(load(text, 2, 3, FIRST, 0)).containsExactly(3, 4, 5, 6, 7, 8);
    }

    @Test
    void drawsWindowsOnceEachInTheOrderOfTheText() throws IOException {
        Path text = text("a.txt", "w0 w0 w1 w1 w2 w2 w3 w3 w4 w4 w5 w5 w6 w6 w7 w7 w8 w8 w9 w9 w0");
        int[] drawn = load(text, 5, 2, RANDOM, 7);
        assertThat(drawn).hasSize(10).isSorted();
        assertThat(Arrays.stream(drawn).distinct().count()).isEqualTo(5);
        assertThat(load(text, 5, 2, RANDOM, 7)).isEqualTo(drawn);
        assertThat(load(text, 10, 2, RANDOM, 7)).containsExactly(load(text, 10, 2, FIRST, 0));
    }

    @Test
    void aSeedMeansTheSameWindowsForEver() {
        assertThat(CalibrationData.draw(5, 1000, 0)).containsExactly(28, 109, 432, 883, 970);
        assertThat(CalibrationData.draw(5, 1000, 1)).isNotEqualTo(CalibrationData.draw(5, 1000, 0));
    }

    @Test
    void everyWindowIsDrawnAboutEquallyOften() {
        int[] seen = new int[50];
        for (int seed = 0; seed < 10_000; seed++) {
            for (int w : CalibrationData.draw(5, 50, seed)) {
                seen[w]++;
            }
        }
        assertThat(Arrays.stream(seen).boxed()).allMatch(n -> 880 < n && n < 1120);
    }

    @Test
    void joinsTheLinesOfAJsonlFile() throws IOException {
        Path lines =
                text(
                        "a.jsonl",
                        "{\"text\": \"w0 w1\", \"id\": 3}\r\n\n"
                                + "{\"id\": 4, \"text\": \"w2\\nw3\"}\n"
                                + "{\"text\":\"\"}");
        assertThat(load(lines, 2, 2, FIRST, 0)).containsExactly(3, 4, 5, 6);
        assertThat(TextFiles.tokens(lines, tokenizer)).containsExactly(3, 4, 5, 6);
    }

    @Test
    void namesTheLineThatIsWrong() throws IOException {
        assertThatThrownBy(() ->
                        load(text("a.jsonl", "{\"text\":\"w1\"}\n{\"text\":"), 9, 9, FIRST, 0))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("a.jsonl: line 2: not valid JSON");
        assertThatThrownBy(() -> load(text("b.jsonl", "{\"txt\":\"w1\"}"), 9, 9, FIRST, 0))
                .hasMessageContaining("line 1: expected an object with a string under \"text\"");
        assertThatThrownBy(() -> load(text("c.jsonl", "{\"text\":\"\\ud800\"}"), 9, 9, FIRST, 0))
                .hasMessageContaining("line 1: the text holds half of a surrogate pair");
        assertThatThrownBy(() -> load(text("d.jsonl", "{\"text\":\"a\"} x"), 9, 9, FIRST, 0))
                .hasMessageContaining("line 1: not valid JSON");
    }

    @Test
    void aShortTextSaysWhatWouldFit() throws IOException {
        Path text = text("a.txt", "w0 w1 w2 w3 w4 w5 w6");
        assertThatThrownBy(() -> load(text, 4, 2, RANDOM, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("has 7 tokens, but 4 windows of 2 need 8")
                .satisfies(e ->
                        assertThat(((UserException) e).hint())
                                .startsWith("lower {calibration.samples} to 3"));
        assertThatThrownBy(() -> load(text, 1, 8, FIRST, 0))
                .satisfies(e ->
                        assertThat(((UserException) e).hint())
                                .startsWith("lower {calibration.length} to 7"));
    }

    @Test
    void filesShareTheWindowsByWeight() throws IOException {
        Path a = text("a.txt", "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9");
        Path b = text("b.txt", "w9 w8 w7 w6");
        List<WeightedText> mix = List.of(new WeightedText(a, 3), new WeightedText(b, 1));
        CalibrationSpec spec = new CalibrationSpec(mix, 4, 2, RANDOM, 5, false);
        int[] ids = CalibrationData.load(spec, tokenizer).ids().toArray(ValueLayout.JAVA_INT);
        assertThat(Arrays.copyOf(ids, 6)).isEqualTo(load(a, 3, 2, RANDOM, 5));
        assertThat(load(b, 2, 2, FIRST, 0)).contains(Arrays.copyOfRange(ids, 6, 8));
        assertThatThrownBy(() ->
                        CalibrationData.load(
                                new CalibrationSpec(mix, 1, 2, FIRST, 0, false), tokenizer))
                .hasMessageContaining("b.txt would give none of the 1 calibration windows");
        assertThatThrownBy(() ->
                        CalibrationData.load(
                                new CalibrationSpec(mix, 12, 2, FIRST, 0, false), tokenizer))
                .hasMessageContaining("a.txt has 10 tokens, but 9 windows of 2 need 18");
    }

    @Test
    void moreWindowsAreOthers() throws IOException {
        Path a = text("a.txt", "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9");
        Path b = text("b.txt", "w9 w8 w7 w6 w5 w4");
        List<WeightedText> mix = List.of(new WeightedText(a, 1), new WeightedText(b, 1));
        for (CalibrationSpec.Order order : CalibrationSpec.Order.values()) {
            CalibrationSpec spec = new CalibrationSpec(mix, 4, 2, order, 1, false);
            Windows some = CalibrationData.more(spec, tokenizer, new int[] {0, 1, 2, 3, 9});
            assertThat(some.count()).isEqualTo(4);
            int[] all =
                    CalibrationData.load(spec, tokenizer)
                            .and(some)
                            .ids()
                            .toArray(ValueLayout.JAVA_INT);
            int[] texts = Arrays.copyOf(load(a, 5, 2, FIRST, 0), 16);
            System.arraycopy(load(b, 3, 2, FIRST, 0), 0, texts, 10, 6);
            Arrays.sort(all);
            Arrays.sort(texts);
            assertThat(all).isEqualTo(texts);
            assertThat(
                            CalibrationData.more(spec, tokenizer, new int[] {1, 3})
                                    .ids()
                                    .mismatch(
                                            CalibrationData.more(spec, tokenizer, new int[] {1, 3})
                                                    .ids()))
                    .isEqualTo(-1);
            assertThat(CalibrationData.more(spec, tokenizer, new int[] {4})).isNull();
        }
    }

    @Test
    void filesThatAreNoText() throws IOException {
        Path latin =
                Files.write(
                        directory.resolve("l.txt"), new byte[] {'w', '1', ' ', (byte) 0xe9, ' '});
        assertThatThrownBy(() -> load(latin, 1, 2, FIRST, 0))
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("l.txt: byte 3: not UTF-8");
        Path cut =
                Files.write(
                        directory.resolve("m.txt"),
                        new byte[] {'w', '1', ' ', (byte) 0xe2, (byte) 0x82});
        assertThatThrownBy(() -> load(cut, 1, 2, FIRST, 0))
                .hasMessageContaining("byte 3: not UTF-8");
        assertThatThrownBy(() -> load(text("e.txt", ""), 1, 2, FIRST, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("e.txt: holds no text");
        assertThatThrownBy(() -> load(directory.resolve("none.txt"), 1, 2, FIRST, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("none.txt: no such file");
        assertThatThrownBy(() -> load(directory, 1, 2, FIRST, 0))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("is a directory");
    }

    @Test
    void valuesThatCannotBe() {
        assertThatThrownBy(() -> new CalibrationSpec(directory, 0, 2, FIRST, 0))
                .hasMessageContaining("{calibration.samples} is 0");
        assertThatThrownBy(() -> new CalibrationSpec(directory, 1, 1, FIRST, 0))
                .hasMessageContaining("{calibration.length} is 1");
        assertThat(new CalibrationSpec(List.of(), 1, 2, FIRST, 0, false).isOwn()).isTrue();
        assertThatThrownBy(() -> new CalibrationSpec(directory, 1 << 20, 1 << 20, FIRST, 0))
                .isInstanceOf(UserException.class);
    }

    private Path text(String name, String content) throws IOException {
        return Files.writeString(directory.resolve(name), content);
    }

    private int[] load(Path data, int samples, int length, CalibrationSpec.Order order, long seed) {
        Windows w =
                CalibrationData.load(
                        new CalibrationSpec(data, samples, length, order, seed), tokenizer);
        assertThat(w.count()).isEqualTo(samples);
        assertThat(w.length()).isEqualTo(length);
        return w.ids().toArray(ValueLayout.JAVA_INT);
    }
}
