// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.Token.Kind;
import io.llmc.tokenizer.jinja.values.Values;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/// Statements. Whatever would read another file (`include`, `import`, `extends`) does not exist.
final class Parser {
    private static final int DEEPEST = 100;

    private final TokenReader tokens;
    private final NamesRead names = new NamesRead();
    private final ExpressionParser expressions;
    private int depth;

    private Parser(TokenReader tokens) {
        this.tokens = tokens;
        this.expressions = new ExpressionParser(tokens, names);
    }

    static List<Node> parse(String source, boolean plain) {
        Parser parser = new Parser(new TokenReader(Lexer.tokens(source, plain)));
        List<Node> all = parser.body(Set.of());
        parser.names.require(0);
        if (parser.tokens.peek().kind() != Kind.END) {
            throw parser.tokens.unexpected("the end of the template");
        }
        return all;
    }

    /// Up to a tag of one of these names, whose name is next then, or to the end of the template.
    private List<Node> body(Set<String> ends) {
        if (++depth > DEEPEST) {
            throw new TemplateException(tokens.peek().line(), "blocks are too deeply nested");
        }
        List<Node> nodes = new ArrayList<>();
        while (true) {
            Token token = tokens.next();
            switch (token.kind()) {
                case TEXT -> nodes.add(new Node.Text(token.line(), token.text()));
                case OPEN_OUTPUT -> {
                    nodes.add(new Node.Output(token.line(), expressions.tuple(true)));
                    tokens.expect(Kind.CLOSE_OUTPUT, "}}");
                }
                case OPEN_TAG -> {
                    if (ends.contains(tokens.peek().text())) {
                        depth--;
                        return nodes;
                    }
                    nodes.add(tag(token.line(), tokens.name()));
                }
                case END -> {
                    if (!ends.isEmpty()) {
                        throw new TemplateException(
                                token.line(),
                                "expected {%% %s %%}"
                                        .formatted(
                                                String.join(
                                                        " or ", ends.stream().sorted().toList())));
                    }
                    depth--;
                    return nodes;
                }
                case CLOSE_OUTPUT, CLOSE_TAG, NAME, STRING, INTEGER, DECIMAL, OPERATOR ->
                        throw new TemplateException(token.line(), "unexpected " + token.text());
            }
        }
    }

    private Node tag(int line, String name) {
        return switch (name) {
            case "if" -> branches(line);
            case "for" -> loop(line);
            case "set" -> set(line);
            case "macro" -> macro(line);
            case "call" -> callBlock(line);
            case "with" -> with(line);
            case "filter" -> {
                Expr filters =
                        expressions.filters(expressions.filter(new Expr.Name(Renderer.CAPTURED)));
                yield new Node.FilterBlock(line, filters, until("endfilter"));
            }
            case "block" -> block(line);
            case "print" -> print(line);
            case "generation" -> new Node.Body(line, until("endgeneration"), false);
            case "autoescape" -> {
                if (!(expressions.expression() instanceof Expr.Literal l)
                        || Values.isTrue(l.value())) {
                    throw new TemplateException(line, "autoescape is not known here");
                }
                yield new Node.Body(line, until("endautoescape"), false);
            }
            case "break" -> {
                closeTag();
                yield new Node.Break(line);
            }
            case "continue" -> {
                closeTag();
                yield new Node.Continue(line);
            }
            case "include", "import", "from", "extends" -> {
                while (tokens.peek().kind() != Kind.CLOSE_TAG) {
                    tokens.next();
                }
                closeTag();
                yield new Node.Elsewhere(line, name);
            }
            default -> throw new TemplateException(line, "unknown tag " + name);
        };
    }

    private void closeTag() {
        tokens.expect(Kind.CLOSE_TAG, "%}");
    }

    /// What follows a tag that opens a body, up to tags of these names.
    private List<Node> within(Set<String> ends) {
        tokens.takesOperator(":");
        closeTag();
        return body(ends);
    }

    /// A body with variables of its own, in which every filter must exist.
    private List<Node> inner(Set<String> ends) {
        int mark = names.unknown();
        List<Node> body = within(ends);
        names.require(mark);
        return body;
    }

    private List<Node> until(String end) {
        List<Node> body = inner(Set.of(end));
        tokens.next();
        closeTag();
        return body;
    }

    private Node branches(int line) {
        int mark = names.unknown();
        List<Node.Branch> branches = new ArrayList<>();
        List<Node> otherwise = List.of();
        String word = "if";
        while (!word.equals("endif")) {
            if (word.equals("else")) {
                otherwise = within(Set.of("endif"));
            } else {
                Expr condition = expressions.tuple(false);
                branches.add(new Node.Branch(condition, within(Set.of("elif", "else", "endif"))));
            }
            word = tokens.name();
        }
        closeTag();
        names.forgive(mark);
        return new Node.If(line, branches, otherwise);
    }

    private Node loop(int line) {
        Target target = target(false);
        tokens.expect(Kind.NAME, "in");
        Expr over = expressions.tuple(false);
        int mark = names.unknown();
        Expr condition = tokens.takes(Kind.NAME, "if") ? expressions.expression() : null;
        names.require(mark);
        boolean recursive = tokens.takes(Kind.NAME, "recursive");
        List<Node> body = inner(Set.of("else", "endfor"));
        List<Node> otherwise = List.of();
        if (tokens.name().equals("else")) {
            otherwise = inner(Set.of("endfor"));
            tokens.next();
        }
        closeTag();
        return new Node.For(line, target, over, condition, body, otherwise, recursive);
    }

    /// @param namespaces whether it may be an attribute of one
    private Target target(boolean namespaces) {
        Target first = one(namespaces);
        if (!tokens.peek().is(Kind.OPERATOR, ",")) {
            return first;
        }
        List<Target> parts = new ArrayList<>(List.of(first));
        while (tokens.takesOperator(",")) {
            boolean ends =
                    tokens.peek().is(Kind.NAME, "in")
                            || tokens.peek().is(Kind.OPERATOR, "=")
                            || tokens.peek().is(Kind.OPERATOR, ")");
            if (ends) {
                break;
            }
            parts.add(one(namespaces));
        }
        return new Target.Parts(parts);
    }

    private Target one(boolean namespaces) {
        if (tokens.takesOperator("(")) {
            if (++depth > DEEPEST) {
                throw new TemplateException(tokens.peek().line(), "a target is too deeply nested");
            }
            Target inner = target(namespaces);
            depth--;
            tokens.expect(Kind.OPERATOR, ")");
            return inner;
        }
        Token token = tokens.peek();
        String name = tokens.name();
        if (Set.of("true", "false", "none", "True", "False", "None").contains(name)) {
            throw new TemplateException(token.line(), "nothing can be assigned to " + name);
        }
        return namespaces && tokens.takesOperator(".")
                ? new Target.Attribute(name, tokens.name())
                : new Target.Name(name);
    }

    private Node set(int line) {
        Target target = target(true);
        if (tokens.takesOperator("=")) {
            Expr value = expressions.tuple(true);
            closeTag();
            return new Node.Set(line, target, value);
        }
        if (target instanceof Target.Parts) {
            throw tokens.unexpected("=");
        }
        Expr filters = new Expr.Name(Renderer.CAPTURED);
        while (tokens.takesOperator("|")) {
            filters = expressions.filter(filters);
        }
        return new Node.SetBlock(line, target, filters, until("endset"));
    }

    private Node.Signature signature() {
        tokens.expect(Kind.OPERATOR, "(");
        List<String> parameters = new ArrayList<>();
        List<Expr> defaults = new ArrayList<>();
        while (!tokens.takesOperator(")")) {
            if (!parameters.isEmpty()) {
                tokens.expect(Kind.OPERATOR, ",");
            }
            parameters.add(tokens.name());
            Expr absent = tokens.takesOperator("=") ? expressions.expression() : null;
            if (absent == null && !defaults.isEmpty() && defaults.getLast() != null) {
                throw tokens.unexpected("a default");
            }
            defaults.add(absent);
        }
        return new Node.Signature(parameters, defaults);
    }

    private Node.Macro macro(int line) {
        String name = tokens.name();
        return macro(line, name, signature(), "endmacro");
    }

    private Node.Macro macro(int line, String name, Node.Signature signature, String end) {
        List<Node> body = new ArrayList<>();
        Set<String> uses = names.namesIn(() -> body.addAll(until(end)));
        uses.retainAll(Set.of("caller", "varargs", "kwargs"));
        return new Node.Macro(line, name, signature, body, uses);
    }

    private Node callBlock(int line) {
        Node.Signature signature =
                tokens.peek().is(Kind.OPERATOR, "(")
                        ? signature()
                        : new Node.Signature(List.of(), List.of());
        if (!(expressions.expression() instanceof Expr.Call call)) {
            throw new TemplateException(line, "expected a call");
        }
        return new Node.CallBlock(line, macro(line, "caller", signature, "endcall"), call);
    }

    private Node with(int line) {
        List<Target> targets = new ArrayList<>();
        List<Expr> values = new ArrayList<>();
        while (tokens.peek().kind() != Kind.CLOSE_TAG) {
            if (!targets.isEmpty()) {
                tokens.expect(Kind.OPERATOR, ",");
            }
            targets.add(target(false));
            tokens.expect(Kind.OPERATOR, "=");
            values.add(expressions.expression());
        }
        return new Node.With(line, targets, values, until("endwith"));
    }

    private Node block(int line) {
        String name = tokens.name();
        boolean scoped = tokens.takes(Kind.NAME, "scoped");
        if (tokens.takes(Kind.NAME, "required")) {
            throw new TemplateException(line, "required blocks are not known here");
        }
        List<Node> body = inner(Set.of("endblock"));
        tokens.next();
        tokens.takes(Kind.NAME, name);
        closeTag();
        return new Node.Body(line, body, !scoped);
    }

    private Node print(int line) {
        List<Node> values = new ArrayList<>();
        while (tokens.peek().kind() != Kind.CLOSE_TAG) {
            if (!values.isEmpty()) {
                tokens.expect(Kind.OPERATOR, ",");
            }
            values.add(new Node.Output(line, expressions.expression()));
        }
        closeTag();
        return new Node.Body(line, values, false);
    }
}
