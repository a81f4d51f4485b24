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
import java.io.CharConversionException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/// JSON as Python's tools write it, read with limits: these files come from strangers.
public final class Json {
    static final int MAX_DEPTH = 32;
    private static final long MAX_FILE = 100L << 20;
    private static final int MAX_DIGITS = 1000;
    private static final int MAX_TEXT = 20_000_000;

    /// Keys and values of a file; the largest index of a published model has a third of them.
    private static final int MAX_TOKENS = 1_000_000;

    private static final JsonMapper MAPPER =
            JsonMapper.builder(factory(MAX_TOKENS))
                    .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                    .build();

    private static final ObjectWriter PRETTY = MAPPER.writer(pythonStyle());

    private Json() {}

    /// Duplicate names and deep nesting are errors; `Infinity` and `NaN`, which Python writes, are
    /// not.
    ///
    /// @param tokens keys, values and brackets at most
    public static JsonFactory factory(long tokens) {
        return JsonFactory.builder()
                .streamReadConstraints(
                        StreamReadConstraints.builder()
                                .maxNestingDepth(MAX_DEPTH)
                                .maxTokenCount(tokens)
                                .maxNumberLength(MAX_DIGITS)
                                .maxStringLength(MAX_TEXT)
                                .build())
                .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
                .disable(JsonWriteFeature.WRITE_NAN_AS_STRINGS)
                // Names are seen once: the JVM's table of them would only grow.
                .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
                .build();
    }

    public static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    /// @throws FormatException where the file is not one JSON object
    /// @throws UserException where it cannot be read, or is of another kind altogether
    public static ObjectNode readObject(Path file) {
        FileKind.requireFile(file);
        try {
            long size = Files.size(file);
            if (size > MAX_FILE) {
                throw new FormatException(
                        file, "%,d bytes are too many for a JSON file".formatted(size));
            }
            if (MAPPER.readTree(Files.readAllBytes(file)) instanceof ObjectNode object) {
                return object;
            }
            // A text of blanks is no fault to a parser, and a file of none has a kind.
            throw FileKind.of(file)
                    .map(kind -> kind.refusal(file, "a JSON object"))
                    .orElseGet(() -> new FormatException(file, "expected a JSON object"));
        } catch (JsonProcessingException | CharConversionException e) {
            throw JsonFault.refusal(file, e, "a JSON object");
        } catch (IOException e) {
            throw unreadable(file, e);
        }
    }

    /// @param file that holds the text
    /// @throws FormatException where it is not one JSON object
    public static ObjectNode readObject(Path file, byte[] text) {
        try {
            if (MAPPER.readTree(text) instanceof ObjectNode object) {
                return object;
            }
        } catch (IOException e) {
            throw new FormatException(file, "a text in it is no JSON: " + JsonFault.of(text, e));
        }
        throw new FormatException(file, "a text in it is no JSON object");
    }

    /// Two spaces, keys in their order, a newline at the end.
    public static void write(Path file, JsonNode value) {
        try {
            Files.writeString(file, PRETTY.writeValueAsString(value) + "\n");
        } catch (IOException e) {
            throw unwritable(file, e);
        }
    }

    public static byte[] compact(JsonNode value) {
        try {
            return MAPPER.writeValueAsString(value).getBytes(StandardCharsets.UTF_8);
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    public static UserException unreadable(Path file, IOException e) {
        return new UserException(
                "cannot read %s: %s".formatted(file, reason(e)),
                "check that the file is there and that you may read it");
    }

    public static UserException unwritable(Path file, IOException e) {
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
