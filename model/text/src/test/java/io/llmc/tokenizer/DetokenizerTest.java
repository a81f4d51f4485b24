// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.formats.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DetokenizerTest {
    private static final Path TALE = TestFiles.testdata().resolve("tale-llama/tokenizer.json");

    /// Characters of one to four bytes, one of two code points, and a blank at the start.
    private static final String TEXT = " Łukasz saw 中文字, 😀😀 and e\u0301 — naïve? 👩‍🚀\n";

    @TempDir private Path directory;

    /// SentencePiece's way: `▁` for blanks, the first of which is dropped, and a token for each
    /// byte of what has none. Ids 3 to 258 are bytes.
    private Path byteFallback() throws IOException {
        StringBuilder vocab = new StringBuilder("\"<unk>\":0,\"<s>\":1,\"</s>\":2");
        for (int b = 0; b < 256; b++) {
            vocab.append(",\"<0x%02X>\":%d".formatted(b, 3 + b));
        }
        int id = 259;
        for (char c : "▁abcdefghijklmnopqrstuvwxyz,?".toCharArray()) {
            vocab.append(",\"%s\":%d".formatted(c, id++));
        }
        return Files.writeString(
                directory.resolve("tokenizer.json"),
                """
                {"version":"1.0","truncation":null,"padding":null,
                 "added_tokens":[{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
                                 {"id":2,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
                 "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
                 "pre_tokenizer":null,"post_processor":null,
                 "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
                 "model":{"type":"BPE","dropout":null,"unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{%s},"merges":[]}}
                """
                        .formatted(vocab));
    }

    @Test
    void piecesAreWholeCharactersAndTogetherTheText() throws IOException {
        for (Path file : new Path[] {TALE, byteFallback()}) {
            try (Tokenizer t = Tokenizer.open(file)) {
                int[] ids = t.encode(TEXT, false);
                for (int prompt = 0; prompt < ids.length; prompt++) {
                    int[] before = Arrays.copyOf(ids, prompt);
                    if (t.decode(before, false).indexOf('\ufffd') >= 0) {
                        continue;
                    }
                    Detokenizer stream = new Detokenizer(t, before);
                    StringBuilder all = new StringBuilder(t.decode(before, false));
                    for (int i = prompt; i < ids.length; i++) {
                        String piece = stream.add(ids[i]);
                        assertThat(piece).doesNotContain("\ufffd");
                        assertThat(piece.codePoints().noneMatch(DetokenizerTest::isHalf)).isTrue();
                        all.append(piece);
                    }
                    assertThat(all.toString()).isEqualTo(t.decode(ids, false));
                }
            }
        }
    }

    private static boolean isHalf(int codePoint) {
        return codePoint >= Character.MIN_SURROGATE && codePoint <= Character.MAX_SURROGATE;
    }

    @Test
    void aBlankInFrontStaysBehindAPromptAndSpecialTokensHaveNoText() throws IOException {
        try (Tokenizer t = Tokenizer.open(byteFallback())) {
            int[] word = t.encode("ab", false);
            assertThat(t.decode(word, false)).isEqualTo("ab");
            assertThat(of(t, word, word)).isEqualTo(" ab");
            assertThat(of(t, new int[0], word)).isEqualTo("ab");
            assertThat(of(t, word, new int[] {2, 1})).isEmpty();
        }
    }

    @Test
    void aCharacterThatIsNeverWholeIsLeftOut() {
        try (Tokenizer t = Tokenizer.open(TALE)) {
            int[] ids = t.encode("ab 😀", false);
            assertThat(of(t, new int[0], Arrays.copyOf(ids, ids.length - 1))).isEqualTo("ab ");
        }
    }

    /// Whatever ids come, nothing is lost and nothing comes twice; bytes that are no character are
    /// marked.
    @Test
    void anyIdsGiveTheTextOfTheWhole() {
        SplittableRandom random = new SplittableRandom(5);
        try (Tokenizer t = Tokenizer.open(TALE)) {
            for (int round = 0; round < 100; round++) {
                int[] ids = random.ints(40, 0, 1024).toArray();
                assertThat(of(t, new int[0], ids))
                        .as("round %d", round)
                        .isEqualTo(t.decode(ids, false).replaceFirst("\ufffd{1,3}$", ""));
            }
        }
    }

    private static String of(Tokenizer t, int[] prompt, int[] ids) {
        Detokenizer stream = new Detokenizer(t, prompt);
        StringBuilder all = new StringBuilder();
        Arrays.stream(ids).mapToObj(stream::add).forEach(all::append);
        return all.toString();
    }
}
