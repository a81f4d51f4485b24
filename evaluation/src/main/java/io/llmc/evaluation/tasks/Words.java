// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import java.util.regex.Pattern;

/// What Python's regular expressions call white space, and words between it.
final class Words {
    static final String SPACE = "[\\s\\x1c-\\x1f]";

    private static final Pattern BETWEEN = pattern(SPACE + "+");

    private Words() {}

    static Pattern pattern(String expression) {
        return Pattern.compile(expression, Pattern.UNICODE_CHARACTER_CLASS);
    }

    /// As lm-eval counts them: a blank at either end has an empty word beside it.
    static long count(String text) {
        return 1 + BETWEEN.matcher(text).results().count();
    }
}
