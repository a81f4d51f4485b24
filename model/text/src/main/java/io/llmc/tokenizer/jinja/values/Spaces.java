// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

/// White space as Python has it.
public final class Spaces {
    private Spaces() {}

    static boolean is(int c) {
        return Character.isWhitespace(c) || c == 0x85 || c == 0xa0 || c == 0x2007 || c == 0x202f;
    }

    /// The first place from `at` on that is no white space.
    public static int skip(String s, int at) {
        int i = at;
        while (i < s.length() && is(s.charAt(i))) {
            i++;
        }
        return i;
    }

    public static String stripEnd(String s) {
        int end = s.length();
        while (end > 0 && is(s.charAt(end - 1))) {
            end--;
        }
        return s.substring(0, end);
    }
}
