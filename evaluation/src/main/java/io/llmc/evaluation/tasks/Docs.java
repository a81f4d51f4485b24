// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.formats.FormatException;
import io.llmc.formats.JsonFault;
import io.llmc.formats.UserException;
import io.llmc.tokenizer.TextFiles;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// A task's data: a JSON object in every line, or one array of objects.
final class Docs {
    private static final JsonMapper JSON =
            JsonMapper.builder()
                    .enable(DeserializationFeature.USE_LONG_FOR_INTS)
                    .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                    .build();

    private static final ObjectReader LINE =
            JSON.readerFor(new TypeReference<Map<String, Object>>() {});

    private static final ObjectReader ARRAY =
            JSON.readerFor(new TypeReference<List<Map<String, Object>>>() {});

    private Docs() {}

    /// @throws FormatException naming the line of what is no item
    /// @throws UserException where the file cannot be read, or holds no item
    static List<Doc> read(Path file) {
        String text = TextFiles.read(file);
        List<Doc> docs =
                text.stripLeading().startsWith("[") ? array(file, text) : lines(file, text);
        if (docs.isEmpty()) {
            throw new UserException(
                    file + ": holds no item", "a task needs a JSON object in every line");
        }
        return docs;
    }

    private static List<Doc> lines(Path file, String text) {
        List<Doc> docs = new ArrayList<>();
        int number = 0;
        for (String line : (Iterable<String>) text.lines()::iterator) {
            number++;
            String place = "line " + number;
            if (!line.isBlank()) {
                try {
                    docs.add(doc(file, place, LINE.readValue(line)));
                } catch (JsonProcessingException e) {
                    throw new FormatException(file, place + ": " + fault(line, e, "a JSON object"));
                }
            }
        }
        return docs;
    }

    private static List<Doc> array(Path file, String text) {
        try {
            List<Map<String, Object>> items = ARRAY.readValue(text);
            List<Doc> docs = new ArrayList<>();
            for (Map<String, Object> item : items) {
                docs.add(doc(file, "item " + (docs.size() + 1), item));
            }
            return docs;
        } catch (JsonProcessingException e) {
            throw new FormatException(file, fault(text, e, "an array of JSON objects"));
        }
    }

    /// @param expected where it is JSON, but of another kind
    private static String fault(String json, JsonProcessingException e, String expected) {
        try {
            JSON.readTree(json);
            return "expected " + expected;
        } catch (JsonProcessingException _) {
            JsonFault fault = JsonFault.of(json.getBytes(StandardCharsets.UTF_8), e);
            return "not valid JSON: " + fault.what();
        }
    }

    private static Doc doc(Path file, String place, Map<String, Object> fields) {
        Doc doc = new Doc(file, place, fields == null ? Map.of() : fields);
        if (fields == null) {
            throw doc.wrong("expected a JSON object, but found null");
        }
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(fields.toString())) {
            throw doc.wrong("a text holds half of a surrogate pair");
        }
        return doc;
    }
}
