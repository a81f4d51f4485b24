// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.core.util.Separators;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/// JSON as Python's tools write it, read with limits: these files come from strangers.
final class Json {
    private static final int MAX_DEPTH = 32;
    private static final long MAX_FILE = 100L << 20;

    /// Duplicate names and deep nesting are errors; `Infinity` and `NaN`, which Python writes, are
    /// not.
    static final JsonFactory FACTORY =
            JsonFactory.builder()
                    .streamReadConstraints(
                            StreamReadConstraints.builder().maxNestingDepth(MAX_DEPTH).build())
                    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                    .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
                    .disable(JsonWriteFeature.WRITE_NAN_AS_STRINGS)
                    .build();

    private static final JsonMapper MAPPER =
            JsonMapper.builder(FACTORY)
                    .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                    .build();

    private static final ObjectWriter PRETTY = MAPPER.writer(pythonStyle());

    private Json() {}

    static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    /// @throws FormatException where the file is not one JSON object
    static ObjectNode readObject(Path file) {
        try {
            long size = Files.size(file);
            if (size > MAX_FILE) {
                throw new FormatException(
                        file, "%,d bytes are too many for a JSON file".formatted(size));
            }
            JsonNode root = MAPPER.readTree(Files.readAllBytes(file));
            if (root instanceof ObjectNode object) {
                return object;
            }
            throw new FormatException(file, "expected a JSON object");
        } catch (JsonProcessingException e) {
            throw broken(file, 0, e);
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }

    /// Two spaces, keys in their order, a newline at the end.
    static void write(Path file, JsonNode value) {
        try {
            Files.writeString(file, PRETTY.writeValueAsString(value) + "\n");
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    static byte[] compact(JsonNode value) {
        try {
            return MAPPER.writeValueAsString(value).getBytes(StandardCharsets.UTF_8);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    /// @param start the byte of the file where the JSON text begins
    static FormatException broken(Path file, long start, JsonProcessingException e) {
        String reason = "not valid JSON: " + e.getOriginalMessage();
        long at = e.getLocation() == null ? -1 : e.getLocation().getByteOffset();
        return at < 0
                ? new FormatException(file, reason)
                : new FormatException(file, start + at, reason);
    }

    static UserException unreadable(Path file, IOException e) {
        return new UserException(
                "cannot read %s: %s".formatted(file, reason(e)),
                "check that the file is there and that you may read it");
    }

    static UserException unwritable(Path file, IOException e) {
        return new UserException(
                "cannot write %s: %s".formatted(file, reason(e)),
                "check the free space of that disk and that you may write there");
    }

    private static String reason(IOException e) {
        String kind = e.getClass().getSimpleName().replace("Exception", "");
        return kind.equals("IO") ? e.getMessage() : kind + " " + e.getMessage();
    }

    private static DefaultPrettyPrinter pythonStyle() {
        DefaultIndenter indent = new DefaultIndenter("  ", "\n");
        Separators separators =
                Separators.createDefaultInstance()
                        .withObjectFieldValueSpacing(Separators.Spacing.AFTER)
                        .withObjectEmptySeparator("")
                        .withArrayEmptySeparator("");
        return new DefaultPrettyPrinter(separators)
                .withObjectIndenter(indent)
                .withArrayIndenter(indent);
    }
}
