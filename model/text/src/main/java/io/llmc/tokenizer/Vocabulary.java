// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import io.llmc.formats.FormatException;
import io.llmc.formats.JsonFault;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;

/// What every id of a tokenizer.json stands for: `model.vocab` and `added_tokens`, which win where
/// both name an id. The file is read as a stream; merges and normalizers are passed over.
public final class Vocabulary {
    /// Eight times the largest vocabulary that is published.
    private static final int MOST_TOKENS = 1 << 21;

    private static final int LONGEST_TOKEN = 1 << 16;
    private static final long MOST_CHARACTERS = 1L << 26;
    private static final int SHOWN_DIFFERENCES = 5;
    private static final int SHOWN_CHARACTERS = 40;

    /// Tokens are keys here: a table of keys would only grow, and a hostile file can make it slow.
    private static final JsonFactory FACTORY =
            JsonFactory.builder()
                    .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
                    .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
                    .streamReadConstraints(
                            StreamReadConstraints.builder()
                                    .maxNestingDepth(64)
                                    .maxNameLength(LONGEST_TOKEN)
                                    .build())
                    .build();

    private final Path file;
    private final SortedMap<Integer, String> tokens = new TreeMap<>();
    private boolean hasVocab;
    private long entries;
    private long characters;

    private Vocabulary(Path file) {
        this.file = file;
    }

    /// Reads a tokenizer.json.
    ///
    /// @throws FormatException where it is no such file, or one of an absurd size
    public static Vocabulary read(Path file) {
        Vocabulary read = new Vocabulary(file);
        SortedMap<Integer, String> added = new TreeMap<>();
        try (JsonParser json = FACTORY.createParser(file.toFile())) {
            read.expect(json, json.nextToken(), JsonToken.START_OBJECT, "an object");
            while (json.nextToken() == JsonToken.FIELD_NAME) {
                String key = json.currentName();
                JsonToken value = json.nextToken();
                switch (key) {
                    case "model" -> read.model(json, value);
                    case "added_tokens" -> read.added(json, value, added);
                    default -> json.skipChildren();
                }
            }
            if (!read.hasVocab) {
                throw new FormatException(
                        file, "has no model.vocab, expected tokens and their ids");
            }
        } catch (JsonProcessingException e) {
            throw JsonFault.refusal(file, e, "a tokenizer in JSON");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        read.tokens.putAll(added);
        return read;
    }

    /// Tokens by their ids, rising.
    public SortedMap<Integer, String> tokens() {
        return java.util.Collections.unmodifiableSortedMap(tokens);
    }

    private void model(JsonParser json, JsonToken token) throws IOException {
        expect(json, token, JsonToken.START_OBJECT, "an object under model");
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            boolean vocab = json.currentName().equals("vocab");
            JsonToken value = json.nextToken();
            if (!vocab) {
                json.skipChildren();
            } else if (value == JsonToken.START_ARRAY) {
                hasVocab = true;
                scored(json);
            } else {
                expect(json, value, JsonToken.START_OBJECT, "an object or a list as model.vocab");
                hasVocab = true;
                numbered(json);
            }
        }
    }

    /// `{"the": 5}`
    private void numbered(JsonParser json) throws IOException {
        while (json.nextToken() == JsonToken.FIELD_NAME) {
            String token = json.currentName();
            expect(json, json.nextToken(), JsonToken.VALUE_NUMBER_INT, "an id in model.vocab");
            // A second token of an id is not what the id is decoded to.
            String first = tokens.putIfAbsent(id(json), token);
            count(json, first == null ? token : "");
        }
    }

    /// `["the", -3.2]`, numbered from 0.
    private void scored(JsonParser json) throws IOException {
        int id = 0;
        JsonToken t;
        while ((t = json.nextToken()) != JsonToken.END_ARRAY) {
            expect(json, t, JsonToken.START_ARRAY, "[token, score] in model.vocab");
            expect(json, json.nextToken(), JsonToken.VALUE_STRING, "a token in model.vocab");
            String token = json.getText();
            count(json, token);
            tokens.put(id++, token);
            JsonToken score = json.nextToken();
            if (!score.isNumeric() || json.nextToken() != JsonToken.END_ARRAY) {
                throw wrong(json, "[token, score] in model.vocab");
            }
        }
    }

    private void added(JsonParser json, JsonToken token, SortedMap<Integer, String> added)
            throws IOException {
        if (token == JsonToken.VALUE_NULL) {
            return;
        }
        expect(json, token, JsonToken.START_ARRAY, "a list as added_tokens");
        JsonToken t;
        while ((t = json.nextToken()) != JsonToken.END_ARRAY) {
            expect(json, t, JsonToken.START_OBJECT, "an object in added_tokens");
            Integer id = null;
            String content = null;
            while (json.nextToken() == JsonToken.FIELD_NAME) {
                String key = json.currentName();
                JsonToken value = json.nextToken();
                if (key.equals("id")) {
                    expect(json, value, JsonToken.VALUE_NUMBER_INT, "an id in added_tokens");
                    id = id(json);
                } else if (key.equals("content")) {
                    expect(json, value, JsonToken.VALUE_STRING, "a content in added_tokens");
                    content = json.getText();
                } else {
                    json.skipChildren();
                }
            }
            if (id == null || content == null) {
                throw wrong(json, "an id and a content in added_tokens");
            }
            count(json, content);
            added.put(id, content);
        }
    }

    private int id(JsonParser json) throws IOException {
        // A number of any length: a long would overflow with an error of its own.
        String digits = json.getText();
        if (digits.length() > 9 || digits.charAt(0) == '-') {
            throw wrong(json, "an id from 0 to 999,999,999, and it is " + shown(digits));
        }
        return Integer.parseInt(digits);
    }

    private void count(JsonParser json, String token) {
        entries++;
        characters += token.length();
        if (entries > MOST_TOKENS
                || token.length() > LONGEST_TOKEN
                || characters > MOST_CHARACTERS) {
            throw wrong(
                    json,
                    "at most %,d tokens of at most %,d characters, %,d together"
                            .formatted(MOST_TOKENS, LONGEST_TOKEN, MOST_CHARACTERS));
        }
    }

    private void expect(JsonParser json, JsonToken found, JsonToken wanted, String expected) {
        if (found != wanted) {
            throw wrong(json, expected);
        }
    }

    private FormatException wrong(JsonParser json, String expected) {
        return new FormatException(
                file, json.currentLocation().getByteOffset(), "expected " + expected);
    }

    /// How many ids two models with one tokenizer share: all, or, where only padding at the end of
    /// their tables tells them apart, those of the smaller.
    ///
    /// @param student a tokenizer.json
    /// @param own ids that the student predicts
    /// @param teacher another
    /// @param other ids that the teacher predicts
    /// @throws UserException where an id means two tokens, or the larger table names a token that
    ///   the smaller lacks
    public static int common(Path student, int own, Path teacher, int other) {
        int common = Math.min(own, other);
        if (own == other) {
            return common;
        }
        requireSame(student, teacher);
        SortedMap<Integer, String> beyond = read(teacher).tokens.tailMap(common);
        if (!beyond.isEmpty()) {
            throw new UserException(
                    "the student predicts %,d tokens and the teacher %,d, and this is no padding: id %d of their tokenizer is %s"
                            .formatted(
                                    own,
                                    other,
                                    beyond.firstKey(),
                                    shown(beyond.get(beyond.firstKey()))),
                    "choose a teacher with the student's vocabulary");
        }
        return common;
    }

    /// What is said where [#common] is less than one of the two.
    public static String note(int own, int other) {
        return "the tables have %,d and %,d rows for one tokenizer: what is beyond the first %,d is padding and does not count"
                .formatted(own, other, Math.min(own, other));
    }

    /// Requires that every id means one token to both. Files of the same bytes are not read.
    ///
    /// @param student a tokenizer.json
    /// @param teacher another
    /// @throws UserException where they differ, or one is not there
    public static void requireSame(Path student, Path teacher) {
        for (Path file : List.of(student, teacher)) {
            if (!Files.isRegularFile(file)) {
                throw new UserException(
                        "%s has no %s, so nothing says what its ids mean"
                                .formatted(file.getParent(), file.getFileName()),
                        "download that file, too");
            }
        }
        try {
            if (Files.mismatch(student, teacher) < 0) {
                return;
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        List<String> differences = read(student).differences(read(teacher));
        if (differences.isEmpty()) {
            return;
        }
        int more = differences.size() - SHOWN_DIFFERENCES;
        throw new UserException(
                "token ids differ: "
                        + String.join(
                                ", ",
                                differences.subList(
                                        0, Math.min(SHOWN_DIFFERENCES, differences.size())))
                        + (more > 0 ? " and %,d more".formatted(more) : ""),
                "choose a teacher with the student's tokenizer");
    }

    /// A phrase for every id that is not the same in another.
    private List<String> differences(Vocabulary teacher) {
        SortedSet<Integer> ids = new TreeSet<>(tokens.keySet());
        ids.addAll(teacher.tokens.keySet());
        List<String> differences = new ArrayList<>();
        for (int id : ids) {
            String mine = tokens.get(id);
            String theirs = teacher.tokens.get(id);
            if (!Objects.equals(mine, theirs)) {
                differences.add(
                        differences.size() < SHOWN_DIFFERENCES
                                ? "%d is %s for the student and %s for the teacher"
                                        .formatted(id, shown(mine), shown(theirs))
                                : "");
            }
        }
        return differences;
    }

    /// Quoted; what a terminal would obey, or not show, is written as its code.
    private static String shown(String token) {
        if (token == null) {
            return "nothing";
        }
        StringBuilder text = new StringBuilder("\"");
        token.codePoints()
                .limit(SHOWN_CHARACTERS)
                .forEach(c -> {
                    switch (Character.getType(c)) {
                        case Character.CONTROL,
                                Character.FORMAT,
                                Character.SURROGATE,
                                Character.UNASSIGNED,
                                Character.LINE_SEPARATOR,
                                Character.PARAGRAPH_SEPARATOR ->
                                text.append("\\u%04x".formatted(c));
                        default -> text.appendCodePoint(c);
                    }
                });
        boolean cut = token.codePointCount(0, token.length()) > SHOWN_CHARACTERS;
        return text.append(cut ? "…\"" : "\"").toString();
    }
}
