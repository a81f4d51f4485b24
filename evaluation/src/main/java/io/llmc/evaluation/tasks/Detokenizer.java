// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import java.util.List;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/// WikiText as people write it. Each rule is lm-eval's, and so is their order: figures can only be
/// compared where the text is the same to the letter.
final class Detokenizer {
    private static final List<UnaryOperator<String>> RULES =
            List.of(
                    letters("s '", "s'"),
                    // A slip of lm-eval's, whose second half is letters and no pattern.
                    pattern("/' [0-9]/", "/'[0-9]/"),
                    letters(" @-@ ", "-"),
                    letters(" @,@ ", ","),
                    letters(" @.@ ", "."),
                    letters(" : ", ": "),
                    letters(" ; ", "; "),
                    letters(" . ", ". "),
                    letters(" ! ", "! "),
                    letters(" ? ", "? "),
                    letters(" , ", ", "),
                    inside("\\(", "\\)", "($1)"),
                    inside("\\[", "\\]", "[$1]"),
                    inside("\\{", "\\}", "{$1}"),
                    inside("\"", "\"", "\"$1\""),
                    inside("'", "'", "'$1'"),
                    letters("= = = =", "===="),
                    letters("= = =", "==="),
                    letters("= =", "=="),
                    letters(" \u00b0 ", "\u00b0"),
                    letters(" \n", "\n"),
                    letters("\n ", "\n"),
                    letters(" N ", " 1 "),
                    letters(" 's", "'s"));

    private Detokenizer() {}

    static String wikitext(String page) {
        String text = page;
        for (UnaryOperator<String> rule : RULES) {
            text = rule.apply(text);
        }
        return text;
    }

    private static UnaryOperator<String> letters(String from, String to) {
        return text -> text.replace(from, to);
    }

    private static UnaryOperator<String> pattern(String what, String with) {
        Pattern pattern = Words.pattern(what);
        return text -> pattern.matcher(text).replaceAll(with);
    }

    /// Blanks right inside of a pair of marks go.
    private static UnaryOperator<String> inside(String open, String close, String with) {
        String between = Words.SPACE + "*([^" + close + "]*?)" + Words.SPACE + "*";
        return pattern(open + between + close, with);
    }
}
