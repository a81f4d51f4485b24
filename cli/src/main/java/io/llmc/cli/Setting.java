// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.util.Arrays;
import java.util.List;

/// One flag as a recipe sees it.
///
/// @param key in the recipe's section: `groupSize`
/// @param value null where the flag was not given
/// @param flag what to name in an error: `--group-size`
record Setting(String key, Object value, String flag) {
    /// The items of a comma list; null for null.
    static List<String> items(String commas) {
        return commas == null
                ? null
                : Arrays.stream(commas.split(",", -1))
                        .map(String::strip)
                        .filter(item -> !item.isEmpty())
                        .toList();
    }
}
