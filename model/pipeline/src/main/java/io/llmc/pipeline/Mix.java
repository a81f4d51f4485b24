// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.tokenizer.WeightedText;
import java.util.List;

/// Several texts with weights, as `a.txt:3`.
public final class Mix {
    private static final int MOST = 100;

    private Mix() {}

    /// @param key of the option
    /// @param texts its items
    /// @throws RecipeException where one has no weight, or there are too many
    public static List<WeightedText> read(Options o, String key, List<String> texts) {
        List<WeightedText> parts = texts.stream().map(text -> part(o, key, text)).toList();
        if (parts.isEmpty() || parts.size() > MOST) {
            throw o.error(
                    key, "%s has %d files, expected 1 to %d".formatted(key, parts.size(), MOST));
        }
        return parts;
    }

    private static WeightedText part(Options o, String key, String text) {
        int colon = text.lastIndexOf(':');
        String weight = text.substring(colon + 1);
        if (colon < 1 || !weight.matches("[0-9]{1,4}") || Integer.parseInt(weight) == 0) {
            throw o.error(
                    key,
                    "%s has %s, expected FILE:WEIGHT with a whole weight from 1 to 9999, as a.txt:3"
                            .formatted(key, text));
        }
        return new WeightedText(o.path(key, text.substring(0, colon)), Integer.parseInt(weight));
    }
}
