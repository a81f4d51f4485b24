// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.pipeline.RecipeException;
import java.util.ArrayList;
import java.util.List;

/// One flag as a recipe sees it.
///
/// @param key in the recipe's section: `groupSize`
/// @param value null where the flag was not given
/// @param flag what to name in an error: `--group-size`
public record Setting(String key, Object value, String flag) {
    /// In a section of a recipe.
    Setting within(String section) {
        return new Setting(section + "." + key, value, flag);
    }

    /// A flag whose value is a comma list; commas inside of brackets belong to a regular
    /// expression, as in `re:.*[.][0-9]{1,2}[.].*`.
    ///
    /// @param commas null where the flag was not given
    /// @throws RecipeException where the list has no item
    static Setting list(String key, String commas, String flag) {
        if (commas == null) {
            return new Setting(key, null, flag);
        }
        List<String> items = items(commas);
        if (items.isEmpty()) {
            throw new RecipeException(flag, "names nothing, expected items separated by commas");
        }
        return new Setting(key, items, flag);
    }

    /// The same, but that one item stays a text.
    static Setting texts(String key, String commas, String flag) {
        Setting list = list(key, commas, flag);
        return list.value() instanceof List<?> items && items.size() == 1
                ? new Setting(key, items.getFirst(), flag)
                : list;
    }

    private static List<String> items(String commas) {
        List<String> items = new ArrayList<>();
        int depth = 0;
        int from = 0;
        for (int i = 0; i <= commas.length(); i++) {
            char c = i < commas.length() ? commas.charAt(i) : ',';
            boolean regex = commas.startsWith("re:", from);
            if (regex && "([{".indexOf(c) >= 0) {
                depth++;
            } else if (regex && ")]}".indexOf(c) >= 0) {
                depth--;
            } else if (c == ',' && (depth <= 0 || i == commas.length())) {
                items.add(commas.substring(from, i).strip());
                from = i + 1;
                depth = 0;
            }
        }
        items.removeIf(String::isEmpty);
        return items;
    }
}
