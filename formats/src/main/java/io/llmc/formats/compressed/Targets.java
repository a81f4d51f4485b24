// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.BoundedRegex;
import io.llmc.formats.BoundedRegex.RegexException;
import io.llmc.formats.FormatException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/// Which layers an entry of a config is about.
///
/// @param names `Linear`, names of layers, and `re:` patterns
record Targets(Path file, List<String> names, List<BoundedRegex> patterns) {
    /// @throws FormatException where a pattern is none
    static Targets of(Path file, List<String> names) {
        List<BoundedRegex> patterns = new ArrayList<>();
        for (String name : names) {
            try {
                if (name.startsWith("re:")) {
                    patterns.add(BoundedRegex.compile(name.substring(3)));
                }
            } catch (RegexException e) {
                throw unmatchable(file, e);
            }
        }
        return new Targets(file, names, List.copyOf(patterns));
    }

    boolean name(String linear) {
        return names.contains(linear);
    }

    /// Python's `re.match`.
    boolean match(String linear) {
        try {
            for (BoundedRegex pattern : patterns) {
                if (pattern.lookingAt(linear)) {
                    return true;
                }
            }
            return false;
        } catch (RegexException e) {
            throw unmatchable(file, e);
        }
    }

    private static FormatException unmatchable(Path file, RegexException e) {
        return new FormatException(file, "config_groups: the target " + e.getMessage());
    }
}
