// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CoderResult;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;

/// Texts as token ids: a `.txt` file is one text, each line of a `.jsonl` file is an object with
/// one under `text`. Nothing is added before, between or after them.
public final class TextFiles {
    private static final ObjectReader LINE =
            JsonMapper.builder()
                    .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                    .build()
                    .readerFor(JsonNode.class);

    private TextFiles() {}

    /// Every id, in order.
    ///
    /// @throws UserException where the file cannot be read or holds no text
    /// @throws FormatException where it is not UTF-8, or a line is not such an object
    public static int[] tokens(Path file, Tokenizer tokenizer) {
        return tokens(file, tokenizer, Integer.MAX_VALUE);
    }

    /// The first ids: at least `enough`, or all; what follows them is not looked at.
    static int[] tokens(Path file, Tokenizer tokenizer, int enough) {
        String name = file.getFileName() == null ? "" : file.getFileName().toString();
        boolean lines = name.toLowerCase(Locale.ROOT).endsWith(".jsonl");
        int[] ids =
                lines
                        ? lines(file, bytes(file), tokenizer, enough)
                        : tokenizer.encodeFirst(read(file), enough);
        if (ids.length == 0) {
            throw new UserException(
                    file + ": holds no text",
                    "name a .txt file, or a .jsonl file with \"text\" in every line");
        }
        return ids;
    }

    private static int[] lines(Path file, byte[] bytes, Tokenizer tokenizer, int enough) {
        int[] ids = new int[1 << 12];
        int count = 0;
        int number = 1;
        for (int from = 0; from < bytes.length && count < enough; number++) {
            int to = from;
            while (to < bytes.length && bytes[to] != '\n') {
                to++;
            }
            String line = decode(file, bytes, from, to).strip();
            from = to + 1;
            if (line.isEmpty()) {
                continue;
            }
            int[] more = tokenizer.encodeFirst(text(file, number, line), enough - count);
            if (count + more.length > ids.length) {
                ids =
                        Arrays.copyOf(
                                ids, Math.max(count + more.length, ids.length + (ids.length >> 1)));
            }
            System.arraycopy(more, 0, ids, count, more.length);
            count += more.length;
        }
        return Arrays.copyOf(ids, count);
    }

    private static String text(Path file, int number, String line) {
        JsonNode text;
        try {
            text = LINE.readTree(line).path("text");
        } catch (JsonProcessingException e) {
            throw new FormatException(
                    file, "line %d: not valid JSON: %s".formatted(number, e.getOriginalMessage()));
        }
        if (!text.isTextual()) {
            throw new FormatException(
                    file,
                    "line %d: expected an object with a string under \"text\"".formatted(number));
        }
        String value = text.textValue();
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(value)) {
            throw new FormatException(
                    file, "line %d: \"text\" holds half of a surrogate pair".formatted(number));
        }
        return value;
    }

    /// A whole text file.
    ///
    /// @throws UserException where it cannot be read
    /// @throws FormatException where it is not UTF-8
    public static String read(Path file) {
        byte[] bytes = bytes(file);
        return decode(file, bytes, 0, bytes.length);
    }

    private static byte[] bytes(Path file) {
        try {
            if (Files.isDirectory(file)) {
                throw new UserException(file + ": is a directory, expected a text file", "");
            }
            if (Files.size(file) > Integer.MAX_VALUE - 16) {
                throw new UserException(
                        file + ": larger than 2 GiB",
                        "cut it: a part of it is enough for any use here");
            }
            return Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            throw new UserException(file + ": no such file", "check the name");
        } catch (IOException e) {
            throw new UserException(
                    "cannot read %s: %s".formatted(file, e.getMessage()),
                    "check that you may read it");
        }
    }

    private static String decode(Path file, byte[] bytes, int from, int to) {
        CharsetDecoder decoder =
                StandardCharsets.UTF_8
                        .newDecoder()
                        .onMalformedInput(CodingErrorAction.REPORT)
                        .onUnmappableCharacter(CodingErrorAction.REPORT);
        ByteBuffer in = ByteBuffer.wrap(bytes, from, to - from);
        CharBuffer out = CharBuffer.allocate(to - from);
        CoderResult result = decoder.decode(in, out, true);
        if (result.isError()) {
            throw new FormatException(
                    file,
                    in.position(),
                    "not UTF-8; convert it first, for example: iconv -f LATIN1 -t UTF-8");
        }
        return out.flip().toString();
    }
}
