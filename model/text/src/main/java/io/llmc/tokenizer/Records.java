// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.formats.FormatException;
import io.llmc.formats.JsonFault;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// The texts of a file of JSON: an object in every line, or one array of objects, or of strings. An
/// object has its text under `text`, or a conversation under `messages` that the model's chat
/// template writes out.
final class Records {
    private static final int LOOKED_AT = 20;
    private static final int SHOWN_NAMES = 5;
    private static final JsonMapper JSON =
            JsonMapper.builder(
                            JsonFactory.builder()
                                    .streamReadConstraints(
                                            StreamReadConstraints.builder()
                                                    .maxStringLength(Integer.MAX_VALUE)
                                                    .build())
                                    .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
                                    .build())
                    .build();
    private static final ObjectReader LINE =
            JSON.readerFor(JsonNode.class).with(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

    private final Path file;
    private final Utf8 text;
    private final Tokenizer tokenizer;
    private ChatTemplate chat;

    /// Null where the file is lines.
    private JsonParser array;

    private int from;
    private int number;

    Records(Path file, Utf8 text, Tokenizer tokenizer) {
        this.file = file;
        this.text = text;
        this.tokenizer = tokenizer;
        this.from = text.start();
        if (text.first() == '[') {
            try {
                array = JSON.getFactory().createParser(text.text(text.start(), text.end()));
                array.nextToken();
            } catch (IOException e) {
                throw wrong(text.text(text.start(), text.end()), e);
            }
        }
    }

    /// Whether a file that should be plain text holds records instead: each of its first lines one,
    /// or an array that begins with one.
    static boolean areThere(Utf8 text) {
        if (text.first() == '[') {
            try (JsonParser json =
                    JSON.getFactory().createParser(text.text(text.start(), text.end()))) {
                json.nextToken();
                return json.nextToken() == JsonToken.START_OBJECT
                        && isRecord(json.readValueAsTree());
            } catch (IOException e) {
                return false;
            }
        }
        if (text.first() != '{') {
            return false;
        }
        int looked = 0;
        for (int at = text.start(); at < text.end() && looked < LOOKED_AT; ) {
            int to = text.lineEnd(at);
            String line = text.text(at, to).strip();
            at = to + 1;
            if (line.isEmpty()) {
                continue;
            }
            looked++;
            try {
                if (!isRecord(LINE.readTree(line))) {
                    return false;
                }
            } catch (JsonProcessingException e) {
                return false;
            }
        }
        return true;
    }

    private static boolean isRecord(JsonNode object) {
        return object.path("text").isTextual() || object.path("messages").isArray();
    }

    /// The next text; null behind the last.
    ///
    /// @throws FormatException naming the line of what is no record
    String next() {
        return array == null ? line() : element();
    }

    private String line() {
        while (from < text.end()) {
            int to = text.lineEnd(from);
            number++;
            // Files that were put together keep their marks.
            String line = text.text(from, to).strip().replaceFirst("^\ufeff\\s*", "");
            from = to + 1;
            if (!line.isEmpty()) {
                try {
                    return written(LINE.readTree(line));
                } catch (JsonProcessingException e) {
                    throw wrong(line, e);
                }
            }
        }
        return null;
    }

    private String element() {
        try {
            JsonToken token = array.nextToken();
            number = array.currentTokenLocation().getLineNr();
            if (token == JsonToken.END_ARRAY) {
                if (array.nextToken() != null) {
                    int line = array.currentTokenLocation().getLineNr();
                    throw new FormatException(
                            file, "line %d: more behind the end of the array".formatted(line));
                }
                return null;
            }
            JsonNode record = array.readValueAsTree();
            return record.isTextual() ? sound(record.textValue()) : written(record);
        } catch (IOException e) {
            throw wrong(text.text(text.start(), text.end()), e);
        }
    }

    /// @param json the line, or the whole array
    private RuntimeException wrong(String json, IOException e) {
        if (!(e instanceof JsonProcessingException)) {
            return new UncheckedIOException(e);
        }
        byte[] bytes = json.getBytes(StandardCharsets.UTF_8);
        JsonFault fault = JsonFault.of(bytes, e);
        boolean goesOn = array == null && fault.offset() == bytes.length && from < text.end();
        return new FormatException(
                file,
                "line %d: not valid JSON: %s"
                        .formatted(
                                array == null ? number : Math.max(1, fault.line()),
                                goesOn
                                        ? "the record does not end on its line; write each in one"
                                                + " line, or all as one array in a .json file"
                                        : fault.what()));
    }

    private String written(JsonNode object) {
        if (object.has("text") && object.has("messages")) {
            throw new FormatException(
                    file,
                    "line %d: has both \"text\" and \"messages\"; leave one out".formatted(number));
        }
        if (!object.has("messages")) {
            return sound(plain(object));
        }
        if (chat == null) {
            chat = chatTemplate();
        }
        return sound(chat.render(file, number, object));
    }

    private ChatTemplate chatTemplate() {
        ChatTemplate template = ChatTemplate.open(tokenizer.directory());
        if (template == null) {
            throw new UserException(
                    "%s: line %d: has \"messages\", but %s has no chat template"
                            .formatted(file, number, tokenizer.directory()),
                    "put the chat_template.jinja of its instruction-tuned version there, or give"
                            + " lines with \"text\"");
        }
        return template;
    }

    private String plain(JsonNode object) {
        JsonNode plain = object.path("text");
        if (!plain.isTextual()) {
            throw new FormatException(
                    file,
                    "line %d: expected an object with a string under \"text\", or with \"messages\"%s"
                            .formatted(number, instead(object)));
        }
        return plain.textValue();
    }

    private static String instead(JsonNode object) {
        if (object.has("text")) {
            return ", but its \"text\" is " + kind(object.get("text"));
        }
        if (!object.isObject()) {
            return ", but found " + kind(object);
        }
        List<String> names = new ArrayList<>();
        object.fieldNames().forEachRemaining(names::add);
        return names.isEmpty()
                ? ", but it is empty"
                : ", and it has "
                        + String.join(", ", names.subList(0, Math.min(SHOWN_NAMES, names.size())));
    }

    private static String kind(JsonNode value) {
        return switch (value.getNodeType()) {
            case NULL -> "null";
            case ARRAY -> "a list";
            case OBJECT -> "an object";
            case STRING -> "a string";
            case BOOLEAN -> "true or false";
            default -> "a number";
        };
    }

    private String sound(String text) {
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw new FormatException(
                    file, "line %d: the text holds half of a surrogate pair".formatted(number));
        }
        return text;
    }
}
