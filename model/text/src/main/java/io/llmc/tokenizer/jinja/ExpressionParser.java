// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.Token.Kind;
import io.llmc.tokenizer.jinja.values.Filters;
import io.llmc.tokenizer.jinja.values.Tests;
import io.llmc.tokenizer.jinja.values.Values;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;

/// Expressions, with Jinja's precedence: conditional, or, and, not, comparison, `+ -`, `~`, `* / //
/// %`, `**`, sign, then what stands behind a value.
final class ExpressionParser {
    private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", ">", "<=", ">=");
    private static final int DEEPEST = 200;

    private final TokenReader tokens;
    private final NamesRead names;
    private int depth;

    ExpressionParser(TokenReader tokens, NamesRead names) {
        this.tokens = tokens;
        this.names = names;
    }

    /// An expression, or several with commas as a tuple.
    ///
    /// @param conditional whether it may be `a if b`, without brackets
    Expr tuple(boolean conditional) {
        Expr first = conditional ? expression() : or();
        if (!tokens.peek().is(Kind.OPERATOR, ",")) {
            return first;
        }
        List<Expr> items = new ArrayList<>(List.of(first));
        while (tokens.takesOperator(",")) {
            if (tokens.peek().kind() == Kind.CLOSE_TAG
                    || tokens.peek().kind() == Kind.CLOSE_OUTPUT
                    || tokens.peek().is(Kind.OPERATOR, ")")) {
                break;
            }
            items.add(conditional ? expression() : or());
        }
        return new Expr.Items(items, true);
    }

    Expr expression() {
        if (++depth > DEEPEST) {
            throw new TemplateException(tokens.peek().line(), "an expression is too deeply nested");
        }
        int mark = names.unknown();
        Expr value = or();
        while (tokens.takes(Kind.NAME, "if")) {
            Expr condition = or();
            value =
                    new Expr.Conditional(
                            condition,
                            value,
                            tokens.takes(Kind.NAME, "else") ? expression() : null);
            names.forgive(mark);
        }
        depth--;
        return value;
    }

    Expr or() {
        Expr left = and();
        while (tokens.takes(Kind.NAME, "or")) {
            left = new Expr.Or(left, and());
        }
        return left;
    }

    private Expr and() {
        Expr left = not();
        while (tokens.takes(Kind.NAME, "and")) {
            left = new Expr.And(left, not());
        }
        return left;
    }

    private Expr not() {
        int times = 0;
        while (tokens.takes(Kind.NAME, "not")) {
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
            if (tokens.peek().kind() == Kind.OPERATOR
                    && COMPARISONS.contains(tokens.peek().text())) {
                links.add(new Expr.Link(tokens.next().text(), sum()));
            } else if (tokens.takes(Kind.NAME, "in")) {
                links.add(new Expr.Link("in", sum()));
            } else if (tokens.peek().is(Kind.NAME, "not") && tokens.ahead(Kind.NAME, "in")) {
                tokens.next();
                tokens.next();
                links.add(new Expr.Link("not in", sum()));
            } else {
                return links.isEmpty() ? first : new Expr.Compare(first, links);
            }
        }
    }

    private Expr sum() {
        Expr left = concatenation();
        while (tokens.peek().is(Kind.OPERATOR, "+") || tokens.peek().is(Kind.OPERATOR, "-")) {
            left = new Expr.Arithmetic(tokens.next().text(), left, concatenation());
        }
        return left;
    }

    private Expr concatenation() {
        Expr left = product();
        while (tokens.takesOperator("~")) {
            left = new Expr.Arithmetic("~", left, product());
        }
        return left;
    }

    private Expr product() {
        Expr left = power();
        while (tokens.peek().kind() == Kind.OPERATOR
                && Set.of("*", "/", "//", "%").contains(tokens.peek().text())) {
            left = new Expr.Arithmetic(tokens.next().text(), left, power());
        }
        return left;
    }

    private Expr power() {
        Expr left = signed(true);
        while (tokens.takesOperator("**")) {
            left = new Expr.Arithmetic("**", left, signed(true));
        }
        return left;
    }

    private Expr signed(boolean filtered) {
        if (++depth > DEEPEST) {
            throw new TemplateException(tokens.peek().line(), "an expression is too deeply nested");
        }
        Expr value;
        if (tokens.takesOperator("-")) {
            value = new Expr.Minus(signed(false));
        } else if (tokens.takesOperator("+")) {
            value = new Expr.Plus(signed(false));
        } else {
            value = primary();
        }
        value = postfix(value);
        depth--;
        return filtered ? filters(value) : value;
    }

    private Expr primary() {
        Token token = tokens.next();
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
                while (tokens.peek().kind() == Kind.STRING) {
                    text.append(tokens.next().text());
                }
                yield new Expr.Literal(text.toString());
            }
            case INTEGER, DECIMAL -> number(token);
            case OPERATOR ->
                    switch (token.text()) {
                        case "(" -> {
                            Expr inner =
                                    tokens.takesOperator(")")
                                            ? new Expr.Items(List.of(), true)
                                            : null;
                            if (inner == null) {
                                inner = tuple(true);
                                tokens.expect(Kind.OPERATOR, ")");
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
        while (!tokens.takesOperator(close)) {
            if (!items.isEmpty()) {
                tokens.expect(Kind.OPERATOR, ",");
                if (tokens.takesOperator(close)) {
                    break;
                }
            }
            items.add(expression());
        }
        return items;
    }

    private Expr pairs() {
        List<Expr.Pair> pairs = new ArrayList<>();
        while (!tokens.takesOperator("}")) {
            if (!pairs.isEmpty()) {
                tokens.expect(Kind.OPERATOR, ",");
                if (tokens.takesOperator("}")) {
                    break;
                }
            }
            Expr key = expression();
            tokens.expect(Kind.OPERATOR, ":");
            pairs.add(new Expr.Pair(key, expression()));
        }
        return new Expr.Pairs(pairs);
    }

    private Expr postfix(Expr start) {
        Expr value = start;
        while (true) {
            if (tokens.takesOperator(".")) {
                value =
                        tokens.peek().kind() == Kind.INTEGER
                                ? new Expr.Item(value, number(tokens.next()))
                                : new Expr.Attribute(value, tokens.name());
            } else if (tokens.takesOperator("[")) {
                value = subscript(value);
            } else if (tokens.takesOperator("(")) {
                value = new Expr.Call(value, given());
            } else {
                return value;
            }
        }
    }

    private Expr subscript(Expr of) {
        List<Expr> keys = new ArrayList<>();
        while (!tokens.takesOperator("]")) {
            if (!keys.isEmpty()) {
                tokens.expect(Kind.OPERATOR, ",");
            }
            Expr first = tokens.peek().is(Kind.OPERATOR, ":") ? null : expression();
            if (tokens.peek().is(Kind.OPERATOR, ":")) {
                Expr to = bound();
                Expr step = bound();
                tokens.expect(Kind.OPERATOR, "]");
                if (!keys.isEmpty()) {
                    throw tokens.unexpected("one key");
                }
                return new Expr.Slice(of, first, to, step);
            }
            keys.add(first);
        }
        return new Expr.Item(of, keys.size() == 1 ? keys.getFirst() : new Expr.Items(keys, true));
    }

    /// Behind a colon, if there is one and something behind it.
    private Expr bound() {
        boolean given = tokens.takesOperator(":");
        return given
                        && !tokens.peek().is(Kind.OPERATOR, ":")
                        && !tokens.peek().is(Kind.OPERATOR, "]")
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
        while (!tokens.takesOperator(")")) {
            if (any) {
                tokens.expect(Kind.OPERATOR, ",");
                if (tokens.takesOperator(")")) {
                    break;
                }
            }
            any = true;
            if (moreNamed == null && tokens.takesOperator("**")) {
                moreNamed = expression();
            } else if (more == null && moreNamed == null && tokens.takesOperator("*")) {
                more = expression();
            } else if (moreNamed == null
                    && tokens.peek().kind() == Kind.NAME
                    && tokens.ahead(Kind.OPERATOR, "=")) {
                String name = tokens.name();
                tokens.next();
                if (named.put(name, expression()) != null) {
                    throw new TemplateException(tokens.peek().line(), "two arguments " + name);
                }
            } else if (!named.isEmpty() || more != null || moreNamed != null) {
                throw tokens.unexpected("a named argument");
            } else {
                args.add(expression());
            }
        }
        return new Expr.Given(args, named, more, moreNamed);
    }

    Expr filters(Expr start) {
        Expr value = start;
        while (true) {
            if (tokens.takesOperator("|")) {
                value = filter(value);
            } else if (tokens.takes(Kind.NAME, "is")) {
                boolean not = tokens.takes(Kind.NAME, "not");
                Expr test = test(value);
                value = not ? new Expr.Not(test) : test;
            } else if (tokens.takesOperator("(")) {
                value = new Expr.Call(value, given());
            } else {
                return value;
            }
        }
    }

    Expr filter(Expr of) {
        int line = tokens.peek().line();
        String name = dotted();
        if (!Filters.NAMES.contains(name)) {
            names.lacks(new TemplateException(line, "there is no filter " + name));
        }
        return new Expr.Filter(of, name, tokens.takesOperator("(") ? given() : Expr.Given.NOTHING);
    }

    private Expr test(Expr of) {
        int line = tokens.peek().line();
        String name = dotted();
        if (!Tests.NAMES.contains(name)) {
            names.lacks(new TemplateException(line, "there is no test " + name));
        }
        return new Expr.Test(of, name, testGiven());
    }

    private String dotted() {
        StringBuilder name = new StringBuilder(tokens.name());
        while (tokens.takesOperator(".")) {
            name.append('.').append(tokens.name());
        }
        return name.toString();
    }

    private Expr.Given testGiven() {
        if (tokens.takesOperator("(")) {
            return given();
        }
        Token t = tokens.peek();
        if (t.is(Kind.NAME, "is")) {
            throw tokens.unexpected("one test");
        }
        boolean value =
                switch (t.kind()) {
                    case NAME -> !Set.of("else", "or", "and").contains(t.text());
                    case STRING, INTEGER, DECIMAL -> true;
                    case OPERATOR -> t.text().equals("[") || t.text().equals("{");
                    case TEXT, OPEN_OUTPUT, CLOSE_OUTPUT, OPEN_TAG, CLOSE_TAG, END -> false;
                };
        return value ? Expr.Given.of(List.of(postfix(primary()))) : Expr.Given.NOTHING;
    }
}
