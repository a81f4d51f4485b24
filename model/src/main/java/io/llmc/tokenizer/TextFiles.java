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
/// one under `text`, or with a conversation under `messages` that the model's chat template writes
/// out. Nothing is added before, between or after them.
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
                    "name a .txt file, or a .jsonl file with \"text\" or \"messages\" in every line");
        }
        return ids;
    }

    private static int[] lines(Path file, byte[] bytes, Tokenizer tokenizer, int enough) {
        int[] ids = new int[1 << 12];
        int count = 0;
        int number = 1;
        ChatTemplate chat = null;
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
            JsonNode object = json(file, number, line);
            if (object.has("messages") && chat == null) {
                chat = chatTemplate(file, number, tokenizer);
            }
            String text =
                    object.has("messages")
                            ? chat.render(file, number, object)
                            : text(file, number, object);
            int[] more = tokenizer.encodeFirst(sound(file, number, text), enough - count);
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

    private static JsonNode json(Path file, int number, String line) {
        JsonNode object;
        try {
            object = LINE.readTree(line);
        } catch (JsonProcessingException e) {
            throw new FormatException(
                    file, "line %d: not valid JSON: %s".formatted(number, e.getOriginalMessage()));
        }
        if (object.has("text") && object.has("messages")) {
            throw new FormatException(
                    file,
                    "line %d: has both \"text\" and \"messages\"; leave one out".formatted(number));
        }
        return object;
    }

    private static ChatTemplate chatTemplate(Path file, int number, Tokenizer tokenizer) {
        ChatTemplate chat = ChatTemplate.open(tokenizer.directory());
        if (chat == null) {
            throw new UserException(
                    "%s: line %d: has \"messages\", but %s has no chat template"
                            .formatted(file, number, tokenizer.directory()),
                    "put the chat_template.jinja of its instruction-tuned version there, or give lines with \"text\"");
        }
        return chat;
    }

    private static String text(Path file, int number, JsonNode object) {
        JsonNode text = object.path("text");
        if (!text.isTextual()) {
            throw new FormatException(
                    file,
                    "line %d: expected an object with a string under \"text\", or with \"messages\""
                            .formatted(number));
        }
        return text.textValue();
    }

    private static String sound(Path file, int number, String text) {
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw new FormatException(
                    file, "line %d: the text holds half of a surrogate pair".formatted(number));
        }
        return text;
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
