// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/// Statements. Whatever would read another file (`include`, `import`, `extends`) does not exist.
final class Parser extends ExpressionParser {
    private static final int DEEPEST = 100;

    private int depth;

    private Parser(List<Token> tokens) {
        super(tokens);
    }

    static List<Node> parse(String source) {
        Parser parser = new Parser(Lexer.tokens(source));
        List<Node> all = parser.body(Set.of());
        parser.require(0);
        if (parser.peek().kind() != Kind.END) {
            throw parser.unexpected("the end of the template");
        }
        return all;
    }

    /// Up to a tag of one of these names, whose name is next then, or to the end of the template.
    private List<Node> body(Set<String> ends) {
        if (++depth > DEEPEST) {
            throw new TemplateException(peek().line(), "blocks are too deeply nested");
        }
        List<Node> nodes = new ArrayList<>();
        while (true) {
            Token token = next();
            switch (token.kind()) {
                case TEXT -> nodes.add(new Node.Text(token.line(), token.text()));
                case OPEN_OUTPUT -> {
                    nodes.add(new Node.Output(token.line(), tuple(true)));
                    expect(Kind.CLOSE_OUTPUT, "}}");
                }
                case OPEN_TAG -> {
                    if (ends.contains(peek().text())) {
                        depth--;
                        return nodes;
                    }
                    nodes.add(tag(token.line(), name()));
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
                Expr filters = filters(filter(new Expr.Name(Renderer.CAPTURED)));
                yield new Node.FilterBlock(line, filters, until("endfilter"));
            }
            case "block" -> block(line);
            case "print" -> print(line);
            case "generation" -> new Node.Body(line, until("endgeneration"), false);
            case "autoescape" -> {
                if (!(expression() instanceof Expr.Literal l) || Values.isTrue(l.value())) {
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
                while (peek().kind() != Kind.CLOSE_TAG) {
                    next();
                }
                closeTag();
                yield new Node.Elsewhere(line, name);
            }
            default -> throw new TemplateException(line, "unknown tag " + name);
        };
    }

    private void closeTag() {
        expect(Kind.CLOSE_TAG, "%}");
    }

    /// What follows a tag that opens a body, up to tags of these names.
    private List<Node> within(Set<String> ends) {
        takesOperator(":");
        closeTag();
        return body(ends);
    }

    /// A body with variables of its own, in which every filter must exist.
    private List<Node> inner(Set<String> ends) {
        int mark = unknown();
        List<Node> body = within(ends);
        require(mark);
        return body;
    }

    private List<Node> until(String end) {
        List<Node> body = inner(Set.of(end));
        next();
        closeTag();
        return body;
    }

    private Node branches(int line) {
        int mark = unknown();
        List<Node.Branch> branches = new ArrayList<>();
        List<Node> otherwise = List.of();
        String word = "if";
        while (!word.equals("endif")) {
            if (word.equals("else")) {
                otherwise = within(Set.of("endif"));
            } else {
                Expr condition = tuple(false);
                branches.add(new Node.Branch(condition, within(Set.of("elif", "else", "endif"))));
            }
            word = name();
        }
        closeTag();
        forgive(mark);
        return new Node.If(line, branches, otherwise);
    }

    private Node loop(int line) {
        Target target = target(false);
        expect(Kind.NAME, "in");
        Expr over = tuple(false);
        int mark = unknown();
        Expr condition = takes(Kind.NAME, "if") ? expression() : null;
        require(mark);
        boolean recursive = takes(Kind.NAME, "recursive");
        List<Node> body = inner(Set.of("else", "endfor"));
        List<Node> otherwise = List.of();
        if (name().equals("else")) {
            otherwise = inner(Set.of("endfor"));
            next();
        }
        closeTag();
        return new Node.For(line, target, over, condition, body, otherwise, recursive);
    }

    /// @param namespaces whether it may be an attribute of one
    private Target target(boolean namespaces) {
        Target first = one(namespaces);
        if (!peek().is(Kind.OPERATOR, ",")) {
            return first;
        }
        List<Target> parts = new ArrayList<>(List.of(first));
        while (takesOperator(",")) {
            boolean ends =
                    peek().is(Kind.NAME, "in")
                            || peek().is(Kind.OPERATOR, "=")
                            || peek().is(Kind.OPERATOR, ")");
            if (ends) {
                break;
            }
            parts.add(one(namespaces));
        }
        return new Target.Parts(parts);
    }

    private Target one(boolean namespaces) {
        if (takesOperator("(")) {
            if (++depth > DEEPEST) {
                throw new TemplateException(peek().line(), "a target is too deeply nested");
            }
            Target inner = target(namespaces);
            depth--;
            expect(Kind.OPERATOR, ")");
            return inner;
        }
        Token token = peek();
        String name = name();
        if (Set.of("true", "false", "none", "True", "False", "None").contains(name)) {
            throw new TemplateException(token.line(), "nothing can be assigned to " + name);
        }
        return namespaces && takesOperator(".")
                ? new Target.Attribute(name, name())
                : new Target.Name(name);
    }

    private Node set(int line) {
        Target target = target(true);
        if (takesOperator("=")) {
            Expr value = tuple(true);
            closeTag();
            return new Node.Set(line, target, value);
        }
        if (target instanceof Target.Parts) {
            throw unexpected("=");
        }
        Expr filters = new Expr.Name(Renderer.CAPTURED);
        while (takesOperator("|")) {
            filters = filter(filters);
        }
        return new Node.SetBlock(line, target, filters, until("endset"));
    }

    private Node.Signature signature() {
        expect(Kind.OPERATOR, "(");
        List<String> parameters = new ArrayList<>();
        List<Expr> defaults = new ArrayList<>();
        while (!takesOperator(")")) {
            if (!parameters.isEmpty()) {
                expect(Kind.OPERATOR, ",");
            }
            parameters.add(name());
            Expr absent = takesOperator("=") ? expression() : null;
            if (absent == null && !defaults.isEmpty() && defaults.getLast() != null) {
                throw unexpected("a default");
            }
            defaults.add(absent);
        }
        return new Node.Signature(parameters, defaults);
    }

    private Node.Macro macro(int line) {
        String name = name();
        return macro(line, name, signature(), "endmacro");
    }

    private Node.Macro macro(int line, String name, Node.Signature signature, String end) {
        List<Node> body = new ArrayList<>();
        Set<String> uses = namesIn(() -> body.addAll(until(end)));
        uses.retainAll(Set.of("caller", "varargs", "kwargs"));
        return new Node.Macro(line, name, signature, body, uses);
    }

    private Node callBlock(int line) {
        Node.Signature signature =
                peek().is(Kind.OPERATOR, "(")
                        ? signature()
                        : new Node.Signature(List.of(), List.of());
        if (!(expression() instanceof Expr.Call call)) {
            throw new TemplateException(line, "expected a call");
        }
        return new Node.CallBlock(line, macro(line, "caller", signature, "endcall"), call);
    }

    private Node with(int line) {
        List<Target> targets = new ArrayList<>();
        List<Expr> values = new ArrayList<>();
        while (peek().kind() != Kind.CLOSE_TAG) {
            if (!targets.isEmpty()) {
                expect(Kind.OPERATOR, ",");
            }
            targets.add(target(false));
            expect(Kind.OPERATOR, "=");
            values.add(expression());
        }
        return new Node.With(line, targets, values, until("endwith"));
    }

    private Node block(int line) {
        String name = name();
        boolean scoped = takes(Kind.NAME, "scoped");
        if (takes(Kind.NAME, "required")) {
            throw new TemplateException(line, "required blocks are not known here");
        }
        List<Node> body = inner(Set.of("endblock"));
        next();
        takes(Kind.NAME, name);
        closeTag();
        return new Node.Body(line, body, !scoped);
    }

    private Node print(int line) {
        List<Node> values = new ArrayList<>();
        while (peek().kind() != Kind.CLOSE_TAG) {
            if (!values.isEmpty()) {
                expect(Kind.OPERATOR, ",");
            }
            values.add(new Node.Output(line, expression()));
        }
        closeTag();
        return new Node.Body(line, values, false);
    }
}
