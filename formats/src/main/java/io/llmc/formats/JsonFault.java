// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;

/// The first place where a text is no JSON, in words for whoever wrote it: parsers speak of tokens
/// and code points.
///
/// @param offset the byte of the text, from 0
/// @param line from 1; 0 where the place is not known
/// @param column from 1
/// @param what is wrong there
public record JsonFault(long offset, long line, int column, String what) {
    private static final String BOM = "\ufeff";
    private static final String NUMBER = "-?(0|[1-9]\\d*)(\\.\\d+)?([eE][+-]?\\d+)?|-?Infinity|NaN";

    /// The refusal of a file of which a parser said that it is no JSON: by its kind where that is
    /// another one, else by its first fault.
    ///
    /// @param expected with its article: `a JSON object`
    public static FormatException refusal(Path file, IOException e, String expected) {
        return FileKind.of(file)
                .map(kind -> kind.refusal(file, expected))
                .orElseGet(
                        () -> new FormatException(file, "not valid JSON: " + of(bytes(file), e)));
    }

    private static byte[] bytes(Path file) {
        try {
            return Files.readAllBytes(file);
        } catch (IOException e) {
            throw Json.unreadable(file, e);
        }
    }

    /// What made a parser refuse a text.
    public static JsonFault of(byte[] text, IOException e) {
        if (e instanceof StreamConstraintsException && !e.getMessage().contains("nesting")) {
            return new JsonFault(0, 0, 0, "more or longer values than any model's file has");
        }
        Charset charset = charset(text);
        CharBuffer decoded = CharBuffer.allocate(text.length);
        ByteBuffer in = ByteBuffer.wrap(text);
        boolean broken = charset.newDecoder().decode(in, decoded, true).isError();
        String sound = decoded.flip().toString();
        Scanner scanner = new Scanner(sound);
        try {
            scanner.whole();
        } catch (Fault f) {
            if (f.at < sound.length() || !broken) {
                return at(sound, f.at, charset, f.getMessage());
            }
        }
        if (broken) {
            return at(sound, sound.length(), charset, "a byte that is no " + charset);
        }
        return new JsonFault(0, 0, 0, "a key is there twice, or a text is no Unicode");
    }

    private static JsonFault at(String text, int at, Charset charset, String what) {
        String before = text.substring(0, at);
        int start = before.lastIndexOf('\n') + 1;
        return new JsonFault(
                before.getBytes(charset).length,
                1 + before.chars().filter(c -> c == '\n').count(),
                1 + before.codePointCount(start, at),
                what);
    }

    /// As parsers tell it: UTF-8, unless the first character takes more bytes.
    private static Charset charset(byte[] text) {
        int first = text.length < 2 ? 0 : (text[0] & 0xff) << 8 | text[1] & 0xff;
        boolean big = first == 0xfeff || first > 0 && first < 0x100;
        boolean little = first == 0xfffe || first > 0 && (first & 0xff) == 0;
        return big
                ? StandardCharsets.UTF_16BE
                : little ? StandardCharsets.UTF_16LE : StandardCharsets.UTF_8;
    }

    @Override
    public String toString() {
        return line == 0 ? what : "line %d, column %d: %s".formatted(line, column, what);
    }

    private static final class Fault extends Exception {
        private final int at;

        private Fault(int at, String what) {
            super(what, null, false, false);
            this.at = at;
        }
    }

    /// The state of one pass over a text.
    private static final class Scanner {
        private final String text;
        private int at;

        private Scanner(String text) {
            this.text = text;
            this.at = text.startsWith(BOM) ? 1 : 0;
        }

        private void whole() throws Fault {
            blanks();
            if (at == text.length()) {
                throw new Fault(at, "there is nothing but blanks");
            }
            value(0);
            blanks();
            if (at < text.length()) {
                throw new Fault(at, "expected the end, but %s follows".formatted(found()));
            }
        }

        private void value(int depth) throws Fault {
            char c = next("a value");
            switch (c) {
                case '{' -> object(deeper(depth));
                case '[' -> list(deeper(depth));
                case '"' -> string();
                case ',', ':', '}', ']' ->
                        throw new Fault(at, "a value is missing before '" + c + "'");
                default -> word();
            }
        }

        private int deeper(int depth) throws Fault {
            if (depth == Json.MAX_DEPTH) {
                throw new Fault(
                        at,
                        "objects and lists reach a depth of more than %d"
                                .formatted(Json.MAX_DEPTH));
            }
            return depth + 1;
        }

        private void object(int depth) throws Fault {
            int open = at++;
            Set<String> keys = new HashSet<>();
            for (boolean first = true; ; first = false) {
                char c = inside(open, "'}'");
                if (c == '}' && first) {
                    break;
                }
                if (c != '"') {
                    throw new Fault(at, keyless(c, first));
                }
                int start = at;
                string();
                if (!keys.add(text.substring(start, at))) {
                    throw new Fault(
                            start,
                            "the key %s is there twice".formatted(text.substring(start, at)));
                }
                if (inside(open, "':'") != ':') {
                    throw new Fault(at, "expected ':' after the key, but found " + found());
                }
                at++;
                inside(open, "a value");
                value(depth);
                if (ends(open, '}')) {
                    break;
                }
            }
            at++;
        }

        private String keyless(char c, boolean first) {
            if (c == '}' && !first) {
                return "a comma before '}': delete the comma";
            }
            return c == ','
                    ? "two commas in a row"
                    : "expected a key in double quotes, but found " + found();
        }

        private void list(int depth) throws Fault {
            int open = at++;
            for (boolean first = true; ; first = false) {
                char c = inside(open, "']'");
                if (c == ']' && first) {
                    break;
                }
                if (c == ']') {
                    throw new Fault(at, "a comma before ']': delete the comma");
                }
                value(depth);
                if (ends(open, ']')) {
                    break;
                }
            }
            at++;
        }

        /// After a value: at the closing bracket, or behind a comma.
        private boolean ends(int open, char close) throws Fault {
            char c = inside(open, "'" + close + "'");
            if (c == ',') {
                at++;
                return false;
            }
            if (c != close) {
                throw new Fault(at, "expected ',' or '%s', but found %s".formatted(close, found()));
            }
            return true;
        }

        private char inside(int open, String expected) throws Fault {
            blanks();
            if (at == text.length()) {
                throw new Fault(
                        at,
                        "the text ends before %s of the '%s' of line %d: it was cut short"
                                .formatted(expected, text.charAt(open), line(open)));
            }
            return text.charAt(at);
        }

        private char next(String expected) throws Fault {
            if (at == text.length()) {
                throw new Fault(at, "the text ends before " + expected);
            }
            return text.charAt(at);
        }

        private long line(int place) {
            return 1 + text.substring(0, place).chars().filter(c -> c == '\n').count();
        }

        private void string() throws Fault {
            int open = at++;
            while (true) {
                if (at == text.length()) {
                    throw new Fault(
                            at,
                            "the text ends inside of the string that begins in line %d: it was cut short"
                                    .formatted(line(open)));
                }
                char c = text.charAt(at);
                if (c == '"') {
                    at++;
                    return;
                }
                if (c < ' ') {
                    throw new Fault(
                            at,
                            c == '\n' || c == '\r'
                                    ? "a line ends inside of a string"
                                    : "the control character U+%04X inside of a string"
                                            .formatted((int) c));
                }
                at += c == '\\' ? escape() : 1;
            }
        }

        /// The characters that an escape takes.
        private int escape() throws Fault {
            int rest = text.length() - at;
            if (rest >= 2 && "\"\\/bfnrt".indexOf(text.charAt(at + 1)) >= 0) {
                return 2;
            }
            if (rest >= 6 && text.substring(at + 1, at + 6).matches("u\\p{XDigit}{4}")) {
                return 6;
            }
            throw new Fault(
                    at,
                    "'%s' is no escape that JSON knows: write '\\\\' for one backslash"
                            .formatted(text.substring(at, at + Math.min(2, rest))));
        }

        private void word() throws Fault {
            int end = at;
            while (end < text.length() && inWord(text.charAt(end))) {
                end++;
            }
            String word = text.substring(at, end);
            if (!word.matches("true|false|null|" + NUMBER)) {
                throw new Fault(at, instead(word));
            }
            at = end;
        }

        private static boolean inWord(char c) {
            return Character.isLetterOrDigit(c) || c == '+' || c == '-' || c == '.' || c == '_';
        }

        private String instead(String word) {
            return switch (word) {
                case "True", "False" -> "'%s' is Python's: JSON has true and false".formatted(word);
                case "None", "undefined", "nil" -> "'%s' is not JSON's: write null".formatted(word);
                default ->
                        !word.isEmpty() && "+-.0123456789".indexOf(word.charAt(0)) >= 0
                                ? "'%s' is no number".formatted(shortened(word))
                                : "expected a value, but found " + found();
            };
        }

        /// What stands where something else should.
        private String found() {
            char c = text.charAt(at);
            if (c == '#' || text.startsWith("//", at) || text.startsWith("/*", at)) {
                return "a comment, which JSON does not have: delete it";
            }
            if ("'\u2018\u2019\u201c\u201d`".indexOf(c) >= 0) {
                return "the quote %s: JSON has double quotes (\") alone".formatted(c);
            }
            if (text.startsWith("<<<<<<<", at)) {
                return "a merge conflict";
            }
            if (c < ' ' || c == 0x7f || c == 0xfffd) {
                return "a byte that is no text";
            }
            int end = at;
            while (end < text.length() && inWord(text.charAt(end))) {
                end++;
            }
            int length = Math.max(Character.charCount(text.codePointAt(at)), end - at);
            return "'%s'".formatted(shortened(text.substring(at, at + length)));
        }

        private static String shortened(String word) {
            return word.length() <= 40 ? word : word.substring(0, 40) + "...";
        }

        private void blanks() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
        }
    }
}
