// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/// What a tokenizer.json puts around a text: the part of [TokenizerCheck] that looks at its
/// templates.
record PostProcessorCheck(Path file) {
    private static final int MOST_SPECIALS = 1000;

    /// A template names special tokens that it defines, and the one text once.
    void check(JsonNode processor) {
        processor.path("processors").forEach(this::check);
        for (String end : List.of("sep", "cls")) {
            if (processor.path(end).isArray()) {
                TokenizerCheck.requireId(
                        file, "post_processor." + end, processor.path(end).path(1));
            }
        }
        if (!processor.path("type").asText("").equals("TemplateProcessing")) {
            return;
        }
        Set<String> known = new HashSet<>();
        int ids = 0;
        for (JsonNode special : processor.path("special_tokens")) {
            known.add(special.path("id").asText(""));
            for (JsonNode id : special.path("ids")) {
                ids++;
                TokenizerCheck.requireId(file, "post_processor.special_tokens", id);
            }
        }
        processor.path("special_tokens").fieldNames().forEachRemaining(known::add);
        for (String key : List.of("single", "pair")) {
            JsonNode parts = processor.path(key);
            int texts = 0;
            for (JsonNode part : parts) {
                String special = part.path("SpecialToken").path("id").asText("");
                String sequence = part.path("Sequence").path("id").asText("");
                boolean defined =
                        processor.path("special_tokens").has(special)
                                || processor.path("special_tokens").isArray()
                                        && known.contains(special);
                if (part.has("SpecialToken") && !defined) {
                    throw TokenizerCheck.wrong(
                            file,
                            "post_processor." + key,
                            "the special token %s is not among special_tokens"
                                    .formatted(TokenizerCheck.shown(special)));
                }
                boolean second = sequence.equals("B") && key.equals("single");
                texts += sequence.equals("A") ? 1 : 0;
                if (second || texts > 1) {
                    throw TokenizerCheck.wrong(
                            file, "post_processor." + key, "expected the text A, and once");
                }
            }
            if (parts.size() > MOST_SPECIALS || ids > MOST_SPECIALS) {
                throw TokenizerCheck.wrong(
                        file,
                        "post_processor." + key,
                        "more than %,d parts".formatted(MOST_SPECIALS));
            }
        }
    }
}
