// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

/// Text within XML and HTML.
public final class Markup {
    private Markup() {}

    /// In elements and in quoted attributes: names and texts of files can be no markup, nor what
    /// XML has no way to write.
    public static String escape(String text) {
        StringBuilder out = new StringBuilder();
        text.codePoints().forEach(c -> append(out, c));
        return out.toString();
    }

    private static void append(StringBuilder out, int c) {
        switch (c) {
            case '&' -> out.append("&amp;");
            case '<' -> out.append("&lt;");
            case '>' -> out.append("&gt;");
            case '"' -> out.append("&quot;");
            case '\'' -> out.append("&#39;");
            case '\n', '\t' -> out.append((char) c);
            default -> out.appendCodePoint(isCharacter(c) ? c : 0xfffd);
        }
    }

    /// As XML 1.0 has it.
    private static boolean isCharacter(int c) {
        return c >= 0x20 && c <= 0xd7ff || c >= 0xe000 && c <= 0xfffd || c >= 0x10000;
    }
}
