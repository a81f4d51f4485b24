// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;

/// How many of something stay: a part of them, up to 1, or a number of them.
///
/// @param text as the user wrote it
/// @param isFraction whether the value is a part
record Part(String text, double value, boolean isFraction) {
    static Option<String> option(String key, String summary) {
        return Option.text(key, null, summary).as("X");
    }

    /// Null where the option is absent.
    static Part read(Options o, Option<String> option) {
        String key = option.key();
        String text = option.read(o);
        if (text == null) {
            return null;
        }
        double value = o.decimal(key, 1);
        // "1" is one of them; "1.0" is all of them, and "2.0" is neither.
        boolean number = text.matches("[0-9]+");
        if (!(value > 0) || (value > 1 && !number)) {
            throw o.error(
                    key,
                    "%s is %s, expected a part up to 1, as 0.75, or a number of them"
                            .formatted(key, text));
        }
        return new Part(text, value, !number);
    }

    /// The number of them that stay, not rounded.
    double of(int all) {
        return isFraction ? value * all : value;
    }
}
