// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.Token.Kind;
import io.llmc.tokenizer.jinja.values.Spaces;
import java.util.ArrayList;
import java.util.List;

/// A template as tokens. As chat templates are read, with `trim_blocks` and `lstrip_blocks`: the
/// newline behind a tag goes, so do the blanks before a tag that begins its line, and so does the
/// template's last newline. A plain template keeps all of them.
final class Lexer {
    private static final List<String> OPERATORS =
            List.of(
                    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=",
                    ".", ",", ":", "|", "(", ")", "[", "]", "{", "}");

    private final String source;
    private final boolean plain;
    private final List<Token> tokens = new ArrayList<>();
    private int at;
    private int line = 1;
    private boolean lineStarts = true;

    private Lexer(String source, boolean plain) {
        this.source = source;
        this.plain = plain;
    }

    /// @throws TemplateException where a tag, a comment or a string does not end
    static List<Token> tokens(String template, boolean plain) {
        String source = template.replace("\r\n", "\n").replace('\r', '\n');
        if (source.endsWith("\n") && !plain) {
            source = source.substring(0, source.length() - 1);
        }
        Lexer lexer = new Lexer(source, plain);
        lexer.run();
        return lexer.tokens;
    }

    private void run() {
        while (at < source.length()) {
            int open = opening();
            if (open < 0) {
                add(Kind.TEXT, source.substring(at));
                break;
            }
            char kind = source.charAt(open + 1);
            text(open, kind != '{' && !plain);
            switch (kind) {
                case '#' -> comment();
                case '{' -> expression(Kind.OPEN_OUTPUT, Kind.CLOSE_OUTPUT, "}}");
                default -> tag();
            }
        }
        add(Kind.END, "the end of the template");
    }

    private int opening() {
        for (int i = at; i + 1 < source.length(); i++) {
            char next = source.charAt(i + 1);
            if (source.charAt(i) == '{' && (next == '{' || next == '%' || next == '#')) {
                return i;
            }
        }
        return -1;
    }

    /// The text before an opening, which is passed too, with its sign.
    private void text(int open, boolean strips) {
        String text = source.substring(at, open);
        String kept = text;
        char sign = open + 2 < source.length() ? source.charAt(open + 2) : ' ';
        if (sign == '-') {
            kept = Spaces.stripEnd(text);
        } else if (sign != '+' && strips) {
            int last = text.lastIndexOf('\n') + 1;
            if ((last > 0 || lineStarts) && Spaces.stripEnd(text.substring(last)).isEmpty()) {
                kept = text.substring(0, last);
            }
        }
        if (!kept.isEmpty()) {
            add(Kind.TEXT, kept);
        }
        advance(open + (sign == '-' || sign == '+' ? 3 : 2));
    }

    private void comment() {
        int end = source.indexOf("#}", at);
        if (end < 0) {
            throw new TemplateException(line, "a comment does not end");
        }
        close(end > at ? source.charAt(end - 1) : ' ', end + 2, true);
    }

    private void tag() {
        int word = Spaces.skip(source, at);
        if (source.startsWith("raw", word)) {
            int end = Spaces.skip(source, word + 3);
            if (source.startsWith("%}", end)) {
                advance(end + 2);
                raw();
                return;
            }
            if (source.startsWith("-%}", end)) {
                advance(Spaces.skip(source, end + 3));
                raw();
                return;
            }
        }
        expression(Kind.OPEN_TAG, Kind.CLOSE_TAG, "%}");
    }

    private void raw() {
        for (int open = source.indexOf("{%", at);
                open >= 0;
                open = source.indexOf("{%", open + 2)) {
            int sign = open + 2 < source.length() ? source.charAt(open + 2) : ' ';
            int word = Spaces.skip(source, sign == '-' || sign == '+' ? open + 3 : open + 2);
            int end = Spaces.skip(source, word + 6);
            boolean signed = end < source.length() && "+-".indexOf(source.charAt(end)) >= 0;
            if (source.startsWith("endraw", word)
                    && source.startsWith("%}", signed ? end + 1 : end)) {
                lineStarts = false;
                text(open, !plain);
                close(signed ? source.charAt(end) : ' ', signed ? end + 3 : end + 2, true);
                return;
            }
        }
        throw new TemplateException(line, "{% raw %} has no {% endraw %}");
    }

    /// Behind a closing at `end`, with what its sign says about the text that follows.
    private void close(char sign, int end, boolean trims) {
        int next = end;
        if (sign == '-') {
            next = Spaces.skip(source, end);
        } else if (sign != '+' && trims && !plain && source.startsWith("\n", end)) {
            next = end + 1;
        }
        advance(next);
        lineStarts = source.charAt(next - 1) == '\n';
    }

    private void expression(Kind open, Kind closing, String close) {
        add(open, close);
        int depth = 0;
        while (true) {
            advance(Spaces.skip(source, at));
            if (at >= source.length()) {
                throw new TemplateException(line, "a tag does not end: expected " + close);
            }
            char c = source.charAt(at);
            boolean signed =
                    (c == '-' || c == '+' && closing == Kind.CLOSE_TAG)
                            && source.startsWith(close, at + 1);
            if (depth == 0 && (signed || source.startsWith(close, at))) {
                add(closing, close);
                close(signed ? c : ' ', at + (signed ? 3 : 2), closing == Kind.CLOSE_TAG);
                return;
            }
            if (c == '(' || c == '[' || c == '{') {
                depth++;
            } else if (c == ')' || c == ']' || c == '}') {
                depth--;
            }
            token(c);
        }
    }

    private void token(char c) {
        if (c == '\'' || c == '"') {
            string(c);
        } else if (Character.isDigit(c)) {
            number();
        } else if (Character.isUnicodeIdentifierStart(c) || c == '_') {
            int end = at;
            while (end < source.length()
                    && (source.charAt(end) == '_'
                            || Character.isUnicodeIdentifierPart(source.charAt(end)))) {
                end++;
            }
            add(Kind.NAME, source.substring(at, end));
            advance(end);
        } else {
            String operator =
                    OPERATORS.stream()
                            .filter(o -> source.startsWith(o, at))
                            .findFirst()
                            .orElseThrow(
                                    () -> new TemplateException(line, "unexpected character " + c));
            add(Kind.OPERATOR, operator);
            advance(at + operator.length());
        }
    }

    private void number() {
        int end = digits(at);
        boolean decimal = false;
        if (end + 1 < source.length()
                && source.charAt(end) == '.'
                && Character.isDigit(source.charAt(end + 1))) {
            decimal = true;
            end = digits(end + 1);
        }
        if (end < source.length() && (source.charAt(end) == 'e' || source.charAt(end) == 'E')) {
            int exponent = end + 1;
            if (exponent < source.length() && "+-".indexOf(source.charAt(exponent)) >= 0) {
                exponent++;
            }
            if (digits(exponent) > exponent) {
                decimal = true;
                end = digits(exponent);
            }
        }
        add(decimal ? Kind.DECIMAL : Kind.INTEGER, source.substring(at, end).replace("_", ""));
        advance(end);
    }

    private int digits(int from) {
        int end = from;
        while (end < source.length()
                && (Character.isDigit(source.charAt(end)) || source.charAt(end) == '_')) {
            end++;
        }
        return end;
    }

    private void string(char quote) {
        int end = at + 1;
        while (end < source.length() && source.charAt(end) != quote) {
            end += source.charAt(end) == '\\' ? 2 : 1;
        }
        if (end >= source.length()) {
            throw new TemplateException(line, "a string does not end");
        }
        add(Kind.STRING, Escapes.decode(source.substring(at + 1, end), line));
        advance(end + 1);
    }

    private void advance(int to) {
        for (; at < to; at++) {
            line += source.charAt(at) == '\n' ? 1 : 0;
        }
    }

    private void add(Kind kind, String text) {
        tokens.add(new Token(kind, text, line));
    }
}
