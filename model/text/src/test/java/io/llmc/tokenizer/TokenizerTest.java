// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.formats.FormatException;
import io.llmc.formats.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TokenizerTest {
    @TempDir Path directory;

    @Test
    void ignoresTruncationAndPaddingOfTheFile() throws IOException {
        try (Tokenizer t = Tokenizer.open(TinyTokenizer.write(directory, false))) {
            assertThat(t.encode("w1 w2 w3 w4 w9", false)).containsExactly(4, 5, 6, 7, 12);
            assertThat(t.encode("w1", false)).containsExactly(4);
            assertThat(t.encode("", false)).isEmpty();
            assertThat(t.bos()).isEmpty();
        }
    }

    @Test
    void framesOnlyWhereAsked() throws IOException {
        try (Tokenizer t = Tokenizer.open(TinyTokenizer.write(directory, true))) {
            assertThat(t.encode("w1 zebra", false)).containsExactly(4, 0);
            assertThat(t.encode("w1 zebra", true)).containsExactly(TinyTokenizer.BOS, 4, 0);
            assertThat(t.bos()).hasValue(TinyTokenizer.BOS);
        }
    }

    @Test
    void decodes() throws IOException {
        try (Tokenizer t = Tokenizer.open(TinyTokenizer.write(directory, true))) {
            assertThat(t.decode(new int[] {1, 4, 5})).isEqualTo("<s> w1 w2");
            assertThat(t.decode(new int[] {4, 9999})).isEqualTo("w1");
            assertThat(t.decode(new int[0])).isEmpty();
        }
    }

    @Test
    void longTextsInPiecesGiveTheIdsOfTheWhole() throws IOException {
        Random random = new Random(1);
        StringBuilder text = new StringBuilder();
        while (text.length() < 700_000) {
            text.append('w')
                    .append(random.nextInt(10))
                    .append(random.nextInt(9) == 0 ? " \n" : " ");
        }
        for (boolean bos : new boolean[] {false, true}) {
            try (Tokenizer t = Tokenizer.open(TinyTokenizer.write(directory, bos))) {
                int[] whole = t.encodeWhole(text.toString(), false);
                assertThat(t.encode(text.toString(), false)).isEqualTo(whole);
                int[] first = t.encodeFirst(text.toString(), 10);
                assertThat(first)
                        .hasSizeLessThan(whole.length / 3)
                        .startsWith(java.util.Arrays.copyOf(whole, 10));
            }
        }
    }

    @Test
    void theBundledTokenizerGoesThereAndBack() {
        Path bundled = TestFiles.testdata().resolve("tale-llama");
        assumeTrue(Files.exists(bundled), () -> "skipped: there is no " + bundled);
        String text = TextFiles.read(bundled.resolve("calibration.txt"));
        try (Tokenizer t = Tokenizer.open(bundled.resolve("tokenizer.json"))) {
            int[] whole = t.encodeWhole(text.repeat(3), false);
            assertThat(t.encode(text.repeat(3), false)).isEqualTo(whole);
            assertThat(t.decode(whole)).isEqualTo(text.repeat(3));
            assertThat(t.bos()).isEmpty();
        }
    }

    @Test
    void refusesWhatIsNoTokenizer() throws IOException {
        Path broken = Files.writeString(directory.resolve("tokenizer.json"), "{\"version\": 1");
        assertThatThrownBy(() -> Tokenizer.open(broken).close())
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("tokenizer.json: not valid JSON: line 1, column 14");
        Files.write(broken, new byte[] {'{', (byte) 0xff, '}'});
        assertThatThrownBy(() -> Tokenizer.open(broken).close())
                .isInstanceOf(FormatException.class)
                .hasMessageContaining("byte 1: not UTF-8");
    }

    @Test
    void aClosedTokenizerSaysSo() throws IOException {
        Tokenizer t = Tokenizer.open(TinyTokenizer.write(directory, false));
        t.close();
        t.close();
        assertThatThrownBy(() -> t.encode("w1", false)).isInstanceOf(IllegalStateException.class);
    }
}
