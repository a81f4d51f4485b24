// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.Token.Kind;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;

/// Expressions, with Jinja's precedence: conditional, or, and, not, comparison, `+ -`, `~`, `* / //
/// %`, `**`, sign, then what stands behind a value.
class ExpressionParser {
    private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", ">", "<=", ">=");
    private static final int DEEPEST = 200;

    private final List<Token> tokens;
    private int at;
    private int depth;
    private Set<String> names = new HashSet<>();
    private final List<TemplateException> unknown = new ArrayList<>();

    ExpressionParser(List<Token> tokens) {
        this.tokens = tokens;
    }

    final Token peek() {
        return tokens.get(at);
    }

    final Token next() {
        return tokens.get(at == tokens.size() - 1 ? at : at++);
    }

    private boolean ahead(Kind kind, String text) {
        return at + 1 < tokens.size() && tokens.get(at + 1).is(kind, text);
    }

    final boolean takes(Kind kind, String text) {
        boolean is = peek().is(kind, text);
        at += is ? 1 : 0;
        return is;
    }

    final boolean takesOperator(String text) {
        return takes(Kind.OPERATOR, text);
    }

    final void expect(Kind kind, String text) {
        if (!takes(kind, text)) {
            throw unexpected(text);
        }
    }

    final String name() {
        Token token = next();
        if (token.kind() != Kind.NAME) {
            throw new TemplateException(token.line(), "expected a name, not " + token.text());
        }
        return token.text();
    }

    final TemplateException unexpected(String expected) {
        return new TemplateException(
                peek().line(), "expected %s, not %s".formatted(expected, peek().text()));
    }

    /// How many names of filters and tests that do not exist stand in what was read so far. Jinja
    /// forgives them in branches, where they may not be reached.
    final int unknown() {
        return unknown.size();
    }

    /// Forgives those behind a mark.
    final void forgive(int mark) {
        unknown.subList(mark, unknown.size()).clear();
    }

    /// Forgives none behind a mark.
    final void require(int mark) {
        if (unknown.size() > mark) {
            throw unknown.get(mark);
        }
    }

    /// The variables that are read in what `body` parses.
    final Set<String> namesIn(Runnable body) {
        Set<String> before = names;
        names = new HashSet<>();
        body.run();
        Set<String> inside = names;
        names = before;
        names.addAll(inside);
        return inside;
    }

    /// An expression, or several with commas as a tuple.
    ///
    /// @param conditional whether it may be `a if b`, without brackets
    final Expr tuple(boolean conditional) {
        Expr first = conditional ? expression() : or();
        if (!peek().is(Kind.OPERATOR, ",")) {
            return first;
        }
        List<Expr> items = new ArrayList<>(List.of(first));
        while (takesOperator(",")) {
            if (peek().kind() == Kind.CLOSE_TAG
                    || peek().kind() == Kind.CLOSE_OUTPUT
                    || peek().is(Kind.OPERATOR, ")")) {
                break;
            }
            items.add(conditional ? expression() : or());
        }
        return new Expr.Items(items, true);
    }

    final Expr expression() {
        if (++depth > DEEPEST) {
            throw new TemplateException(peek().line(), "an expression is too deeply nested");
        }
        int mark = unknown();
        Expr value = or();
        while (takes(Kind.NAME, "if")) {
            Expr condition = or();
            value =
                    new Expr.Conditional(
                            condition, value, takes(Kind.NAME, "else") ? expression() : null);
            forgive(mark);
        }
        depth--;
        return value;
    }

    final Expr or() {
        Expr left = and();
        while (takes(Kind.NAME, "or")) {
            left = new Expr.Or(left, and());
        }
        return left;
    }

    private Expr and() {
        Expr left = not();
        while (takes(Kind.NAME, "and")) {
            left = new Expr.And(left, not());
        }
        return left;
    }

    private Expr not() {
        int times = 0;
        while (takes(Kind.NAME, "not")) {
            times++;
        }
        Expr value = compare();
        for (; times > 0; times--) {
            value = new Expr.Not(value);
        }
        return value;
    }

    private Expr compare() {
        Expr first = sum();
        List<Expr.Link> links = new ArrayList<>();
        while (true) {
            if (peek().kind() == Kind.OPERATOR && COMPARISONS.contains(peek().text())) {
                links.add(new Expr.Link(next().text(), sum()));
            } else if (takes(Kind.NAME, "in")) {
                links.add(new Expr.Link("in", sum()));
            } else if (peek().is(Kind.NAME, "not") && ahead(Kind.NAME, "in")) {
                at += 2;
                links.add(new Expr.Link("not in", sum()));
            } else {
                return links.isEmpty() ? first : new Expr.Compare(first, links);
            }
        }
    }

    private Expr sum() {
        Expr left = concatenation();
        while (peek().is(Kind.OPERATOR, "+") || peek().is(Kind.OPERATOR, "-")) {
            left = new Expr.Arithmetic(next().text(), left, concatenation());
        }
        return left;
    }

    private Expr concatenation() {
        Expr left = product();
        while (takesOperator("~")) {
            left = new Expr.Arithmetic("~", left, product());
        }
        return left;
    }

    private Expr product() {
        Expr left = power();
        while (peek().kind() == Kind.OPERATOR
                && Set.of("*", "/", "//", "%").contains(peek().text())) {
            left = new Expr.Arithmetic(next().text(), left, power());
        }
        return left;
    }

    private Expr power() {
        Expr left = signed(true);
        while (takesOperator("**")) {
            left = new Expr.Arithmetic("**", left, signed(true));
        }
        return left;
    }

    private Expr signed(boolean filtered) {
        if (++depth > DEEPEST) {
            throw new TemplateException(peek().line(), "an expression is too deeply nested");
        }
        Expr value;
        if (takesOperator("-")) {
            value = new Expr.Minus(signed(false));
        } else if (takesOperator("+")) {
            value = new Expr.Plus(signed(false));
        } else {
            value = primary();
        }
        value = postfix(value);
        depth--;
        return filtered ? filters(value) : value;
    }

    private Expr primary() {
        Token token = next();
        return switch (token.kind()) {
            case NAME ->
                    switch (token.text()) {
                        case "true", "True" -> new Expr.Literal(true);
                        case "false", "False" -> new Expr.Literal(false);
                        case "none", "None" -> new Expr.Literal(null);
                        default -> {
                            names.add(token.text());
                            yield new Expr.Name(token.text());
                        }
                    };
            case STRING -> {
                StringBuilder text = new StringBuilder(token.text());
                while (peek().kind() == Kind.STRING) {
                    text.append(next().text());
                }
                yield new Expr.Literal(text.toString());
            }
            case INTEGER, DECIMAL -> number(token);
            case OPERATOR ->
                    switch (token.text()) {
                        case "(" -> {
                            Expr inner =
                                    takesOperator(")") ? new Expr.Items(List.of(), true) : null;
                            if (inner == null) {
                                inner = tuple(true);
                                expect(Kind.OPERATOR, ")");
                            }
                            yield inner;
                        }
                        case "[" -> new Expr.Items(list("]"), false);
                        case "{" -> pairs();
                        default ->
                                throw new TemplateException(
                                        token.line(), "expected a value, not " + token.text());
                    };
            case TEXT, OPEN_OUTPUT, CLOSE_OUTPUT, OPEN_TAG, CLOSE_TAG, END ->
                    throw new TemplateException(
                            token.line(), "expected a value, not " + token.text());
        };
    }

    private static Expr number(Token token) {
        try {
            return new Expr.Literal(
                    token.kind() == Kind.INTEGER
                            ? Values.integer(new BigInteger(token.text(), 10))
                            : (Object) Double.valueOf(token.text()));
        } catch (NumberFormatException e) {
            throw new TemplateException(token.line(), "too large a number: " + token.text());
        }
    }

    private List<Expr> list(String close) {
        List<Expr> items = new ArrayList<>();
        while (!takesOperator(close)) {
            if (!items.isEmpty()) {
                expect(Kind.OPERATOR, ",");
                if (takesOperator(close)) {
                    break;
                }
            }
            items.add(expression());
        }
        return items;
    }

    private Expr pairs() {
        List<Expr.Pair> pairs = new ArrayList<>();
        while (!takesOperator("}")) {
            if (!pairs.isEmpty()) {
                expect(Kind.OPERATOR, ",");
                if (takesOperator("}")) {
                    break;
                }
            }
            Expr key = expression();
            expect(Kind.OPERATOR, ":");
            pairs.add(new Expr.Pair(key, expression()));
        }
        return new Expr.Pairs(pairs);
    }

    private Expr postfix(Expr start) {
        Expr value = start;
        while (true) {
            if (takesOperator(".")) {
                value =
                        peek().kind() == Kind.INTEGER
                                ? new Expr.Item(value, number(next()))
                                : new Expr.Attribute(value, name());
            } else if (takesOperator("[")) {
                value = subscript(value);
            } else if (takesOperator("(")) {
                value = new Expr.Call(value, given());
            } else {
                return value;
            }
        }
    }

    private Expr subscript(Expr of) {
        List<Expr> keys = new ArrayList<>();
        while (!takesOperator("]")) {
            if (!keys.isEmpty()) {
                expect(Kind.OPERATOR, ",");
            }
            Expr first = peek().is(Kind.OPERATOR, ":") ? null : expression();
            if (peek().is(Kind.OPERATOR, ":")) {
                Expr to = bound();
                Expr step = bound();
                expect(Kind.OPERATOR, "]");
                if (!keys.isEmpty()) {
                    throw unexpected("one key");
                }
                return new Expr.Slice(of, first, to, step);
            }
            keys.add(first);
        }
        return new Expr.Item(of, keys.size() == 1 ? keys.getFirst() : new Expr.Items(keys, true));
    }

    /// Behind a colon, if there is one and something behind it.
    private Expr bound() {
        boolean given = takesOperator(":");
        return given && !peek().is(Kind.OPERATOR, ":") && !peek().is(Kind.OPERATOR, "]")
                ? expression()
                : null;
    }

    /// Arguments, up to the closing bracket.
    private Expr.Given given() {
        List<Expr> args = new ArrayList<>();
        SequencedMap<String, Expr> named = new LinkedHashMap<>();
        Expr more = null;
        Expr moreNamed = null;
        boolean any = false;
        while (!takesOperator(")")) {
            if (any) {
                expect(Kind.OPERATOR, ",");
                if (takesOperator(")")) {
                    break;
                }
            }
            any = true;
            if (moreNamed == null && takesOperator("**")) {
                moreNamed = expression();
            } else if (more == null && moreNamed == null && takesOperator("*")) {
                more = expression();
            } else if (moreNamed == null
                    && peek().kind() == Kind.NAME
                    && ahead(Kind.OPERATOR, "=")) {
                String name = name();
                next();
                if (named.put(name, expression()) != null) {
                    throw new TemplateException(peek().line(), "two arguments " + name);
                }
            } else if (!named.isEmpty() || more != null || moreNamed != null) {
                throw unexpected("a named argument");
            } else {
                args.add(expression());
            }
        }
        return new Expr.Given(args, named, more, moreNamed);
    }

    private static final Expr.Given NOTHING = only(List.of());

    private static Expr.Given only(List<Expr> args) {
        return new Expr.Given(args, new LinkedHashMap<>(), null, null);
    }

    final Expr filters(Expr start) {
        Expr value = start;
        while (true) {
            if (takesOperator("|")) {
                value = filter(value);
            } else if (takes(Kind.NAME, "is")) {
                boolean not = takes(Kind.NAME, "not");
                Expr test = test(value);
                value = not ? new Expr.Not(test) : test;
            } else if (takesOperator("(")) {
                value = new Expr.Call(value, given());
            } else {
                return value;
            }
        }
    }

    final Expr filter(Expr of) {
        int line = peek().line();
        String name = dotted();
        if (!Filters.NAMES.contains(name)) {
            unknown.add(new TemplateException(line, "there is no filter " + name));
        }
        return new Expr.Filter(of, name, takesOperator("(") ? given() : NOTHING);
    }

    private Expr test(Expr of) {
        int line = peek().line();
        String name = dotted();
        if (!Tests.NAMES.contains(name)) {
            unknown.add(new TemplateException(line, "there is no test " + name));
        }
        return new Expr.Test(of, name, testGiven());
    }

    private String dotted() {
        StringBuilder name = new StringBuilder(name());
        while (takesOperator(".")) {
            name.append('.').append(name());
        }
        return name.toString();
    }

    private Expr.Given testGiven() {
        if (takesOperator("(")) {
            return given();
        }
        Token t = peek();
        if (t.is(Kind.NAME, "is")) {
            throw unexpected("one test");
        }
        boolean value =
                switch (t.kind()) {
                    case NAME -> !Set.of("else", "or", "and").contains(t.text());
                    case STRING, INTEGER, DECIMAL -> true;
                    case OPERATOR -> t.text().equals("[") || t.text().equals("{");
                    case TEXT, OPEN_OUTPUT, CLOSE_OUTPUT, OPEN_TAG, CLOSE_TAG, END -> false;
                };
        return value ? only(List.of(postfix(primary()))) : NOTHING;
    }
}
