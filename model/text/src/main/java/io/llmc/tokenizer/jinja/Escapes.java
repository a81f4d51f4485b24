// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

/// What a backslash means in a string, as in Python.
final class Escapes {
    private Escapes() {}

    static String decode(String s, int line) {
        if (s.indexOf('\\') < 0) {
            return s;
        }
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            if (c != '\\' || i + 1 == s.length()) {
                out.append(c);
                continue;
            }
            char e = s.charAt(++i);
            switch (e) {
                case 'n' -> out.append('\n');
                case 't' -> out.append('\t');
                case 'r' -> out.append('\r');
                case 'b' -> out.append('\b');
                case 'f' -> out.append('\f');
                case 'v' -> out.append('\u000b');
                case 'a' -> out.append('\u0007');
                case '\\', '\'', '"' -> out.append(e);
                case '\n' -> {}
                case 'x' -> i += hex(s, i + 1, 2, out, line);
                case 'u' -> i += hex(s, i + 1, 4, out, line);
                case 'U' -> i += hex(s, i + 1, 8, out, line);
                case '0', '1', '2', '3', '4', '5', '6', '7' -> {
                    int end = i;
                    while (end < s.length()
                            && end < i + 3
                            && "01234567".indexOf(s.charAt(end)) >= 0) {
                        end++;
                    }
                    out.append((char) Integer.parseInt(s.substring(i, end), 8));
                    i = end - 1;
                }
                default -> out.append('\\').append(e);
            }
        }
        return out.toString();
    }

    private static int hex(String s, int from, int digits, StringBuilder out, int line) {
        try {
            out.appendCodePoint(Integer.parseUnsignedInt(s.substring(from, from + digits), 16));
            return digits;
        } catch (IllegalArgumentException | IndexOutOfBoundsException e) {
            throw new TemplateException(line, "a string has an escape that is cut or no character");
        }
    }
}
