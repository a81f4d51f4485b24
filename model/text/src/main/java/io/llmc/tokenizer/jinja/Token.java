// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

/// @param text what it says; the value of a string, without quotes
/// @param line in the template, from 1
record Token(Kind kind, String text, int line) {
    enum Kind {
        TEXT,
        OPEN_OUTPUT,
        CLOSE_OUTPUT,
        OPEN_TAG,
        CLOSE_TAG,
        NAME,
        STRING,
        INTEGER,
        DECIMAL,
        OPERATOR,
        END
    }

    boolean is(Kind expected, String word) {
        return kind == expected && text.equals(word);
    }
}
