// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.FormatException;
import io.llmc.formats.JsonFault;
import java.io.IOException;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/// Reads a tokenizer.json before the native library does, which ends the process where it meets
/// what it did not expect, and takes hours or all memory where a file asks for it.
final class TokenizerCheck {
    private static final int DEEPEST = 64;
    private static final int MOST_STEPS = 100;
    private static final int LONGEST_TEXT = 256;

    /// Published ones stay below a thousand.
    private static final int LONGEST_PATTERN = 2048;

    private static final int MOST_TIMES_LONGER = 64;
    private static final int LONGEST_WORD = 10_000;
    private static final int LONGEST_ADDED = 1024;
    private static final int MOST_ADDED = 1 << 20;

    /// Choices that the native matcher goes back over in one attempt before it gives up.
    private static final int MOST_RETRIES = 8_000_000;

    private static final int LEAST_PIECE = 300_000;
    private static final int LONGEST_PIECE = 1 << 22;

    private static final JsonMapper JSON =
            JsonMapper.builder(
                            JsonFactory.builder()
                                    .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
                                    .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
                                    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                                    .streamReadConstraints(
                                            StreamReadConstraints.builder()
                                                    .maxNestingDepth(DEEPEST)
                                                    .build())
                                    .build())
                    .build();

    private final Path file;
    private final ObjectNode settings = JSON.createObjectNode();
    private final List<String> normalizedTokens = new ArrayList<>();
    private int steps;
    private int addedCharacters;
    private double effort;
    private double longer = 1;

    private TokenizerCheck(Path file) {
        this.file = file;
    }

    /// What is known of a file that passed.
    ///
    /// @param longestPiece characters that may be encoded at once
    /// @param probe the same normalizer before a model that has an id for everything but nothing,
    ///   as a tokenizer.json; null where no added token is normalized
    /// @param normalizedTokens the added tokens that are; none may become nothing
    record Passed(int longestPiece, String probe, List<String> normalizedTokens) {}

    /// @param text of the file
    /// @throws FormatException saying where it is what the native library may not see
    static Passed check(Path file, String text) {
        TokenizerCheck check = new TokenizerCheck(file);
        try {
            check.read(text);
        } catch (StreamConstraintsException e) {
            throw new FormatException(
                    file,
                    "not a tokenizer: nested more than %d deep, or longer than any tokenizer"
                            .formatted(DEEPEST));
        } catch (JsonProcessingException e) {
            throw JsonFault.refusal(file, e, "a tokenizer in JSON");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        check.settings.properties().forEach(e -> check.parsable(e.getKey(), e.getValue()));
        check.settings.properties().forEach(e -> check.walk(e.getKey(), e.getValue()));
        new PostProcessorCheck(file).check(check.settings.path("post_processor"));
        JsonNode normalizer = check.settings.path("normalizer");
        boolean probes = normalizer.isObject() && !check.normalizedTokens.isEmpty();
        double longest = MOST_RETRIES / check.longer / Math.max(1, check.effort);
        if (longest < LEAST_PIECE) {
            throw new FormatException(
                    file, "its patterns and replacements together could take too long on a text");
        }
        return new Passed(
                (int) Math.min(LONGEST_PIECE, longest),
                probes ? probe(normalizer) : null,
                check.normalizedTokens);
    }

    private static String probe(JsonNode normalizer) {
        ObjectNode probe = JSON.createObjectNode();
        probe.put("version", "1.0").putArray("added_tokens");
        probe.set("normalizer", normalizer);
        ObjectNode model = probe.putObject("model").put("type", "WordLevel").put("unk_token", "?");
        model.putObject("vocab").put("?", 0);
        return probe.toString();
    }

    private FormatException wrong(String where, String what) {
        return wrong(file, where, what);
    }

    static FormatException wrong(Path file, String where, String what) {
        return new FormatException(file, "%s: %s".formatted(where, what));
    }

    private void read(String text) throws IOException {
        try (JsonParser json = JSON.getFactory().createParser(new StringReader(text))) {
            if (json.nextToken() != JsonToken.START_OBJECT) {
                throw new FormatException(file, "not a tokenizer: expected an object");
            }
            while (json.nextToken() == JsonToken.FIELD_NAME) {
                String key = json.currentName();
                JsonToken value = json.nextToken();
                if (key.equals("model") && value == JsonToken.START_OBJECT) {
                    model(json);
                } else if (key.equals("added_tokens") && value == JsonToken.START_ARRAY) {
                    while (json.nextToken() != JsonToken.END_ARRAY) {
                        added(json.readValueAsTree());
                    }
                } else {
                    settings.set(key, json.readValueAsTree());
                }
            }
            if (json.nextToken() != null) {
                throw new FormatException(file, "not a tokenizer: more behind the end of its JSON");
            }
        }
        prefix(text);
    }

    private void added(JsonNode token) {
        String content = token.path("content").asText("");
        if (content.isEmpty()) {
            throw wrong("added_tokens", "a token without content");
        }
        addedCharacters += content.length();
        if (content.length() > LONGEST_ADDED || addedCharacters > MOST_ADDED) {
            throw wrong(
                    "added_tokens",
                    "more than %,d characters in a token, or %,d in all"
                            .formatted(LONGEST_ADDED, MOST_ADDED));
        }
        requireId(file, "added_tokens", token.path("id"));
        if (token.path("normalized").asBoolean()) {
            normalizedTokens.add(content);
        }
    }

    static void requireId(Path file, String where, JsonNode id) {
        if (!id.canConvertToInt() || !id.isIntegralNumber() || id.intValue() < 0) {
            throw wrong(file, where, "the id %s, expected 0 to 2,147,483,647".formatted(id));
        }
    }

    private void model(JsonParser json) throws IOException {
        ObjectNode rest = settings.putObject("model");
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            String key = json.currentName();
            JsonToken value = json.nextToken();
            if (key.equals("vocab") && value == JsonToken.START_OBJECT) {
                while (json.nextToken() == JsonToken.FIELD_NAME) {
                    JsonToken id = json.nextToken();
                    boolean fits =
                            id == JsonToken.VALUE_NUMBER_INT
                                    && json.getNumberType() == JsonParser.NumberType.INT
                                    && json.getIntValue() >= 0;
                    if (!fits) {
                        throw new FormatException(
                                file,
                                json.currentLocation().getCharOffset(),
                                "model.vocab: expected an id from 0 to 2,147,483,647");
                    }
                }
            } else if (key.equals("vocab") || key.equals("merges")) {
                json.skipChildren();
            } else {
                rest.set(key, json.readValueAsTree());
            }
        }
        JsonNode longest = rest.path("max_input_chars_per_word");
        if (longest.isNumber() && longest.doubleValue() > LONGEST_WORD) {
            throw wrong(
                    "model.max_input_chars_per_word",
                    "%s, expected at most %,d".formatted(longest, LONGEST_WORD));
        }
    }

    /// With a prefix of word parts, the second half of every merge must have it.
    private void prefix(String text) throws IOException {
        String prefix = settings.path("model").path("continuing_subword_prefix").asText("");
        boolean isBpe = !settings.path("model").path("type").asText("BPE").equals("WordPiece");
        if (prefix.isEmpty()
                || !isBpe
                || settings.path("model").path("continuing_subword_prefix").isNull()) {
            return;
        }
        try (JsonParser json = JSON.getFactory().createParser(new StringReader(text))) {
            json.nextToken();
            while (json.nextToken() == JsonToken.FIELD_NAME) {
                boolean model = json.currentName().equals("model");
                json.nextToken();
                if (!model) {
                    json.skipChildren();
                    continue;
                }
                while (json.nextToken() == JsonToken.FIELD_NAME) {
                    boolean merges = json.currentName().equals("merges");
                    JsonToken value = json.nextToken();
                    if (!merges || value != JsonToken.START_ARRAY) {
                        json.skipChildren();
                        continue;
                    }
                    for (JsonToken t; (t = json.nextToken()) != JsonToken.END_ARRAY; ) {
                        String second =
                                t == JsonToken.VALUE_STRING
                                        ? json.getText().substring(json.getText().indexOf(' ') + 1)
                                        : json.<JsonNode>readValueAsTree().path(1).asText("");
                        if (!second.startsWith(prefix)) {
                            throw wrong(
                                    "model.merges",
                                    "%s has not the prefix %s of model.continuing_subword_prefix"
                                            .formatted(shown(second), shown(prefix)));
                        }
                    }
                }
            }
        }
    }

    /// What only this parser takes for JSON.
    private void parsable(String where, JsonNode node) {
        if (node.isNumber() && !Double.isFinite(node.doubleValue())) {
            throw wrong(where, "a number that is too large");
        }
        boolean whole = StandardCharsets.UTF_8.newEncoder().canEncode(where + node.asText(""));
        if (!whole) {
            throw wrong(where, "half of a surrogate pair");
        }
        node.properties().forEach(e -> parsable(where + "." + e.getKey(), e.getValue()));
        if (node.isArray()) {
            node.forEach(item -> parsable(where, item));
        }
    }

    private void walk(String where, JsonNode node) {
        if (node.isArray()) {
            for (int i = 0; i < node.size(); i++) {
                walk(where + "[" + i + "]", node.get(i));
            }
            return;
        }
        if (!node.isObject()) {
            return;
        }
        if (node.has("type") && ++steps > MOST_STEPS) {
            throw wrong(where, "more than %d steps".formatted(MOST_STEPS));
        }
        switch (node.path("type").asText("")) {
            case "Replace" -> replace(where, node);
            case "Prepend" -> text(where + ".prepend", node.path("prepend"));
            case "FixedLength" -> atLeastOne(where, node);
            case "Precompiled" -> {
                String problem = CharsMap.problem(node.path("precompiled_charsmap").asText(""));
                if (problem != null) {
                    throw wrong(where + ".precompiled_charsmap", problem);
                }
            }
            case "Strip" -> {
                if (node.path("stop").asLong() > 0) {
                    throw wrong(where + ".stop", "%s, expected 0".formatted(node.path("stop")));
                }
            }
            default -> {}
        }
        for (Map.Entry<String, JsonNode> e : node.properties()) {
            if (e.getKey().equals("Regex")) {
                pattern(where, e.getValue().asText(""));
            } else if (!e.getKey().equals("special_tokens")) {
                walk(where + "." + e.getKey(), e.getValue());
            }
        }
    }

    private void atLeastOne(String where, JsonNode node) {
        if (node.path("length").asLong(1) < 1) {
            throw wrong(where + ".length", "%s, expected 1 or more".formatted(node.path("length")));
        }
    }

    private void text(String where, JsonNode text) {
        if (text.asText("").length() > LONGEST_TEXT) {
            throw wrong(where, "longer than %d characters".formatted(LONGEST_TEXT));
        }
    }

    private SplitPattern pattern(String where, String pattern) {
        if (pattern.length() > LONGEST_PATTERN) {
            throw wrong(
                    where,
                    "a pattern of %,d characters, at most %,d are read"
                            .formatted(pattern.length(), LONGEST_PATTERN));
        }
        try {
            SplitPattern checked = SplitPattern.check(pattern);
            effort += checked.effort();
            return checked;
        } catch (SplitPattern.Unsafe e) {
            throw wrong(where, "the pattern %s %s".formatted(shown(pattern), e.getMessage()));
        }
    }

    /// Steps that replace short texts by long ones multiply.
    private void replace(String where, JsonNode node) {
        text(where + ".content", node.path("content"));
        JsonNode pattern = node.path("pattern");
        int from =
                pattern.has("Regex")
                        ? pattern(where, pattern.path("Regex").asText("")).shortest()
                        : pattern.path("String").asText("").length();
        int to = node.path("content").asText("").length();
        longer *= from == 0 ? 1.0 + to : Math.max(1.0, (double) to / from);
        if (longer > MOST_TIMES_LONGER) {
            throw wrong(
                    where,
                    "this and the steps before it could make a text more than %d times as long"
                            .formatted(MOST_TIMES_LONGER));
        }
    }

    static String shown(String text) {
        return "'%s'".formatted(text.length() > 80 ? text.substring(0, 80) + "..." : text);
    }
}
