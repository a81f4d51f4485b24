// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import java.util.List;
import java.util.SplittableRandom;

/// Writes Jinja that parses, mostly.
final class Templates {
    private static final List<String> NAMES =
            List.of(
                    "messages",
                    "message",
                    "loop",
                    "tools",
                    "x",
                    "y",
                    "ns",
                    "bos_token",
                    "missing",
                    "loop.index0",
                    "message.role",
                    "message['content']",
                    "messages[0]",
                    "ns.a",
                    "none",
                    "true",
                    "false",
                    "namespace",
                    "range",
                    "dict",
                    "raise_exception",
                    "strftime_now",
                    "joiner",
                    "cycler",
                    "lipsum",
                    "self",
                    "caller",
                    "varargs",
                    "kwargs",
                    "m");

    private static final List<String> FILTERS =
            List.of(
                    "trim",
                    "upper",
                    "length",
                    "list",
                    "join",
                    "join(', ')",
                    "tojson",
                    "tojson(indent=2)",
                    "default('x')",
                    "first",
                    "last",
                    "int",
                    "float",
                    "string",
                    "items",
                    "dictsort",
                    "sort",
                    "reverse",
                    "unique",
                    "map(attribute='role')",
                    "map('upper')",
                    "selectattr('role', 'equalto', 'user')",
                    "rejectattr('x')",
                    "select('string')",
                    "reject('none')",
                    "replace('a', 'b')",
                    "indent(4)",
                    "indent(-1)",
                    "batch(2)",
                    "slice(3)",
                    "groupby('role')",
                    "sum",
                    "sum(attribute='x')",
                    "min",
                    "max",
                    "abs",
                    "round",
                    "round(99)",
                    "center(99)",
                    "center(999999999)",
                    "capitalize",
                    "title",
                    "lower",
                    "escape",
                    "safe",
                    "urlencode",
                    "wordcount",
                    "wordwrap(5)",
                    "truncate(5)",
                    "format(1)",
                    "xmlattr",
                    "pprint",
                    "attr('role')",
                    "random",
                    "striptags",
                    "filesizeformat",
                    "count",
                    "e",
                    "d(1)");

    private static final List<String> METHODS =
            List.of(
                    "strip()",
                    "strip('a')",
                    "split()",
                    "split('a')",
                    "split('')",
                    "rsplit(None, 1)",
                    "upper()",
                    "lower()",
                    "title()",
                    "replace('', 'x')",
                    "startswith('a')",
                    "startswith(('a', 'b'))",
                    "endswith('')",
                    "find('a')",
                    "rfind('x')",
                    "count('')",
                    "join(messages)",
                    "format(1, a=2)",
                    "splitlines()",
                    "zfill(9)",
                    "ljust(99999999)",
                    "items()",
                    "keys()",
                    "values()",
                    "get('a')",
                    "get('a', 1)",
                    "append(1)",
                    "pop()",
                    "update({'a': 1})",
                    "setdefault('a', [])",
                    "__class__",
                    "mro()",
                    "index('a')",
                    "isdigit()",
                    "encode()",
                    "partition(' ')",
                    "removeprefix('a')",
                    "capitalize()",
                    "expandtabs(99999999)");

    private static final List<String> OPERATORS =
            List.of(
                    "+", "-", "*", "/", "//", "%", "**", "~", "~", "==", "!=", "<", ">", "<=", ">=",
                    "in", "not in", "and", "or", "and", "or");

    private final SplittableRandom random;
    private int left = 30;

    private Templates(SplittableRandom random) {
        this.random = random;
    }

    static String make(SplittableRandom random) {
        Templates writer = new Templates(random);
        String known =
                "{% set x = "
                        + writer.e(2)
                        + " %}{% set ns = namespace(a=1) %}{% macro m(x) %}{{ x }}{% endmacro %}"
                        + "{% set y = ['b', 'a'] %}{% set message = messages[0] %}";
        return known + writer.block(0);
    }

    private String any(List<String> of) {
        return of.get(random.nextInt(of.size()));
    }

    private String block(int depth) {
        StringBuilder text = new StringBuilder();
        for (int i = 1 + random.nextInt(depth == 0 ? 4 : 2); i > 0; i--) {
            text.append(statement(depth + 1));
        }
        return text.toString();
    }

    private String tag(String inside) {
        return "{%"
                + any(List.of("", "-", "+", ""))
                + " "
                + inside
                + " "
                + any(List.of("", "-"))
                + "%}";
    }

    private String statement(int depth) {
        if (depth > 5 || --left < 0) {
            return any(List.of("", "a", "\n  ", "{# c #}"));
        }
        return switch (random.nextInt(11)) {
            case 0 ->
                    tag("if " + e(3))
                            + block(depth)
                            + tag("elif " + e(2))
                            + block(depth)
                            + tag("endif");
            case 1 -> tag("if " + e(3)) + block(depth) + tag("else") + block(depth) + tag("endif");
            case 2 ->
                    tag("for " + any(List.of("message", "x, y", "x")) + " in " + e(2) + filter())
                            + block(depth)
                            + any(List.of("", tag("break"), tag("continue"), tag("else") + "z"))
                            + tag("endfor");
            case 3 -> tag("set " + any(List.of("x", "ns.a", "x, y", "m")) + " = " + e(3));
            case 4 -> tag("set x") + block(depth) + tag("endset");
            case 5 -> tag("macro m(x, y=" + e(1) + ")") + block(depth) + tag("endmacro");
            case 6 -> tag("set ns = namespace(a=" + e(1) + ")");
            case 7 -> {
                String word = any(List.of("generation", "filter", "call", "raw", "with"));
                String rest =
                        switch (word) {
                            case "filter" -> " upper";
                            case "call" -> " m(1)";
                            case "with" -> " x = " + e(2);
                            default -> "";
                        };
                yield tag(word + rest) + block(depth) + tag("end" + word);
            }
            default ->
                    "{{"
                            + any(List.of("", "-"))
                            + " "
                            + e(4)
                            + " }}"
                            + any(List.of("", "\n", " a "));
        };
    }

    private String filter() {
        return random.nextInt(4) == 0 ? " if " + e(2) : random.nextInt(8) == 0 ? " recursive" : "";
    }

    /// An expression.
    private String e(int depth) {
        if (depth == 0 || --left < 0) {
            return leaf();
        }
        return switch (random.nextInt(13)) {
            case 0 -> e(depth - 1) + " " + any(OPERATORS) + " " + e(depth - 1);
            case 1 -> e(depth - 1) + " | " + any(FILTERS);
            case 2 -> "(" + e(depth - 1) + ")." + any(METHODS);
            case 3 -> e(depth - 1) + "[" + e(depth - 1) + "]";
            case 4 -> e(depth - 1) + "[" + slice() + "]";
            case 5 -> "(" + e(depth - 1) + ")";
            case 6 -> "[" + e(depth - 1) + ", " + e(depth - 1) + "]";
            case 7 -> "{" + e(depth - 1) + ": " + e(depth - 1) + "}";
            case 8 -> "(" + e(depth - 1) + " if " + e(depth - 1) + " else " + e(depth - 1) + ")";
            case 9 ->
                    any(NAMES)
                            + "("
                            + e(depth - 1)
                            + any(List.of("", ", x=1", ", *x", ", **x"))
                            + ")";
            case 10 -> "(" + any(List.of("not ", "-", "+")) + e(depth - 1) + ")";
            case 11 ->
                    "("
                            + e(depth - 1)
                            + " is "
                            + any(
                                    List.of(
                                            "defined",
                                            "none",
                                            "string",
                                            "mapping",
                                            "iterable",
                                            "sequence",
                                            "number",
                                            "divisibleby 0",
                                            "divisibleby(3)",
                                            "sameas none",
                                            "in messages",
                                            "not undefined",
                                            "eq 1",
                                            "callable",
                                            "odd"))
                            + ")";
            default -> leaf();
        };
    }

    private String slice() {
        String step = any(List.of("", ":", ":2", ":-1", ":0", ":99999999999"));
        return any(List.of("", "1", "-1", "99", "none", "-9223372036854775808"))
                + ":"
                + any(List.of("", "1", "-1", "9"))
                + step;
    }

    private String leaf() {
        return switch (random.nextInt(5)) {
            case 0 -> any(NAMES);
            case 1 ->
                    any(
                            List.of(
                                    "0",
                                    "1",
                                    "-1",
                                    "2",
                                    "1.5",
                                    "1e300",
                                    "9223372036854775807",
                                    "99999999999999999999",
                                    "1_000"));
            case 2 ->
                    any(
                            List.of(
                                    "''",
                                    "'a'",
                                    "\"b\"",
                                    "'\\n'",
                                    "'%s %d'",
                                    "'{}{a}'",
                                    "'user'",
                                    "'\\t'",
                                    "'\u00df\u0130'"));
            case 3 -> any(List.of("[]", "{}", "()", "(1,)", "[1, 'a', none]", "{'a': 1}"));
            default -> "x";
        };
    }
}
