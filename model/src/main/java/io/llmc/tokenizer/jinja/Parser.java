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
                    nodes.add(new Node.Output(token.line(), tuple()));
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
            case "generation" -> {
                closeTag();
                yield new Node.Body(line, until("endgeneration"));
            }
            case "break" -> {
                closeTag();
                yield new Node.Break(line);
            }
            case "continue" -> {
                closeTag();
                yield new Node.Continue(line);
            }
            default -> throw new TemplateException(line, "unknown tag " + name);
        };
    }

    private void closeTag() {
        expect(Kind.CLOSE_TAG, "%}");
    }

    private List<Node> until(String end) {
        List<Node> body = body(Set.of(end));
        next();
        if (peek().kind() == Kind.NAME) {
            next();
        }
        closeTag();
        return body;
    }

    private Node branches(int line) {
        List<Node.Branch> branches = new ArrayList<>();
        List<Node> otherwise = List.of();
        String word = "if";
        while (!word.equals("endif")) {
            if (word.equals("else")) {
                closeTag();
                otherwise = body(Set.of("endif"));
            } else {
                Expr condition = tuple();
                closeTag();
                branches.add(new Node.Branch(condition, body(Set.of("elif", "else", "endif"))));
            }
            word = name();
        }
        closeTag();
        return new Node.If(line, branches, otherwise);
    }

    private Node loop(int line) {
        List<String> targets = targets();
        expect(Kind.NAME, "in");
        Expr over = or();
        Expr condition = takes(Kind.NAME, "if") ? expression() : null;
        if (peek().is(Kind.NAME, "recursive")) {
            throw new TemplateException(line, "recursive loops are not known here");
        }
        closeTag();
        List<Node> body = body(Set.of("else", "endfor"));
        List<Node> otherwise = List.of();
        if (name().equals("else")) {
            closeTag();
            otherwise = body(Set.of("endfor"));
            next();
        }
        closeTag();
        return new Node.For(line, targets, over, condition, body, otherwise);
    }

    private List<String> targets() {
        boolean bracket = takesOperator("(");
        List<String> targets = new ArrayList<>();
        do {
            targets.add(name());
        } while (takesOperator(","));
        if (bracket) {
            expect(Kind.OPERATOR, ")");
        }
        return targets;
    }

    private Node set(int line) {
        List<String> targets = targets();
        String attribute = takesOperator(".") ? name() : null;
        if (takesOperator("=")) {
            Expr value = tuple();
            closeTag();
            return new Node.Set(line, targets, attribute, value);
        }
        if (attribute != null || targets.size() > 1) {
            throw unexpected("=");
        }
        Expr filters = new Expr.Name(Renderer.CAPTURED);
        while (takesOperator("|")) {
            filters = filter(filters);
        }
        closeTag();
        return new Node.SetBlock(line, targets.getFirst(), filters, until("endset"));
    }

    private Node macro(int line) {
        String name = name();
        expect(Kind.OPERATOR, "(");
        List<String> parameters = new ArrayList<>();
        List<Expr> defaults = new ArrayList<>();
        while (!takesOperator(")")) {
            if (!parameters.isEmpty()) {
                expect(Kind.OPERATOR, ",");
            }
            parameters.add(name());
            defaults.add(takesOperator("=") ? expression() : null);
        }
        closeTag();
        return new Node.Macro(line, name, parameters, defaults, until("endmacro"));
    }
}
