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
import com.fasterxml.jackson.databind.node.ObjectNode;
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
/// object has its text under `text`, or under `prompt` where it is one, or a conversation under
/// `messages` that the model's chat template writes out.
final class Records {
    private static final int LOOKED_AT = 20;
    private static final int SHOWN_NAMES = 5;
    private static final String TEXT = "text";
    private static final String PROMPT = "prompt";
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
    private final Path model;
    private final String key;
    private ChatTemplate chat;
    private boolean isConversation;

    /// Null where the file is lines.
    private JsonParser array;

    private int from;
    private int number;

    /// Texts to learn from or to measure on.
    Records(Path file, Utf8 text, Tokenizer tokenizer) {
        this(file, text, tokenizer.directory(), TEXT, null);
    }

    /// Prompts.
    ///
    /// @param model what a sentence calls the model
    /// @param chat null where it has none
    static Records ofPrompts(Path file, Utf8 text, Path model, ChatTemplate chat) {
        return new Records(file, text, model, PROMPT, chat);
    }

    private Records(Path file, Utf8 text, Path model, String key, ChatTemplate chat) {
        this.file = file;
        this.text = text;
        this.model = model;
        this.key = key;
        this.chat = chat;
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
        return areThere(text, TEXT);
    }

    /// Whether a file that should be plain prompts holds records instead.
    static boolean ofPromptsAreThere(Utf8 text) {
        return areThere(text, PROMPT);
    }

    private static boolean areThere(Utf8 text, String key) {
        if (text.first() == '[') {
            try (JsonParser json =
                    JSON.getFactory().createParser(text.text(text.start(), text.end()))) {
                json.nextToken();
                return json.nextToken() == JsonToken.START_OBJECT
                        && isRecord(json.readValueAsTree(), key);
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
                if (!isRecord(LINE.readTree(line), key)) {
                    return false;
                }
            } catch (JsonProcessingException e) {
                return false;
            }
        }
        return true;
    }

    private static boolean isRecord(JsonNode object, String key) {
        return object.path(key).isTextual() || object.path("messages").isArray();
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
        if (object.has(key) && object.has("messages")) {
            throw new FormatException(
                    file,
                    "line %d: has both \"%s\" and \"messages\"; leave one out"
                            .formatted(number, key));
        }
        isConversation = object.has("messages");
        if (!isConversation) {
            return sound(plain(object));
        }
        if (chat == null) {
            chat = chatTemplate();
        }
        return sound(chat.render(file, number, key.equals(PROMPT) ? answered(object) : object));
    }

    /// Whether the last text is that of a conversation.
    boolean isConversation() {
        return isConversation;
    }

    /// A prompt ends where the answer begins, unless it says otherwise.
    private static JsonNode answered(JsonNode object) {
        return object instanceof ObjectNode line
                        && !line.has(ChatTemplate.PROMPT)
                        && !line.has(ChatTemplate.CONTINUE)
                ? line.put(ChatTemplate.PROMPT, true)
                : object;
    }

    private ChatTemplate chatTemplate() {
        return ChatTemplate.open(model)
                .orElseThrow(() ->
                        new UserException(
                                "%s: line %d: has \"messages\", but %s has no chat template"
                                        .formatted(file, number, model),
                                "put the chat_template.jinja of its instruction-tuned"
                                        + " version"
                                        + " there, or give lines with \"%s\"".formatted(key)));
    }

    private String plain(JsonNode object) {
        JsonNode plain = object.path(key);
        if (!plain.isTextual()) {
            throw new FormatException(
                    file,
                    "line %d: expected an object with a string under \"%s\", or with \"messages\"%s"
                            .formatted(number, key, instead(object)));
        }
        return plain.textValue();
    }

    private String instead(JsonNode object) {
        if (object.has(key)) {
            return ", but its \"%s\" is %s".formatted(key, kind(object.get(key)));
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
