// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.formats.FormatException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalInt;

/// What stands before a continuation that has no context: the tokenizer's `bos_token`, else its
/// `eos_token`, as lm-eval has it.
final class PrefixToken {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final String[] NAMES = {"bos_token", "eos_token"};

    private PrefixToken() {}

    /// Empty where neither the tokenizer nor the model's config names one.
    static OptionalInt of(Checkpoint c, Tokenizer tokenizer) {
        Path file = c.directory().resolve("tokenizer_config.json");
        JsonNode settings = Files.isRegularFile(file) ? read(file) : JSON.createObjectNode();
        for (String name : NAMES) {
            JsonNode token = settings.path(name);
            String text = (token.isObject() ? token.path("content") : token).asText("");
            int[] ids = text.isEmpty() ? new int[0] : tokenizer.encode(text, false);
            if (ids.length == 1) {
                return OptionalInt.of(ids[0]);
            }
        }
        for (String name : NAMES) {
            JsonNode id = c.config().json().path(name + "_id");
            JsonNode first = id.isArray() ? id.path(0) : id;
            if (first.canConvertToInt()) {
                return OptionalInt.of(first.intValue());
            }
        }
        return tokenizer.bos();
    }

    private static JsonNode read(Path file) {
        try {
            return JSON.readTree(TextFiles.read(file));
        } catch (JsonProcessingException e) {
            throw new FormatException(file, "not valid JSON: " + e.getOriginalMessage());
        }
    }
}
