// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.Token.Kind;
import java.util.List;

/// A place among the tokens of a template.
final class TokenReader {
    private final List<Token> tokens;
    private int at;

    TokenReader(List<Token> tokens) {
        this.tokens = tokens;
    }

    Token peek() {
        return tokens.get(at);
    }

    Token next() {
        return tokens.get(at == tokens.size() - 1 ? at : at++);
    }

    boolean ahead(Kind kind, String text) {
        return at + 1 < tokens.size() && tokens.get(at + 1).is(kind, text);
    }

    boolean takes(Kind kind, String text) {
        boolean is = peek().is(kind, text);
        at += is ? 1 : 0;
        return is;
    }

    boolean takesOperator(String text) {
        return takes(Kind.OPERATOR, text);
    }

    void expect(Kind kind, String text) {
        if (!takes(kind, text)) {
            throw unexpected(text);
        }
    }

    String name() {
        Token token = next();
        if (token.kind() != Kind.NAME) {
            throw new TemplateException(token.line(), "expected a name, not " + token.text());
        }
        return token.text();
    }

    TemplateException unexpected(String expected) {
        return new TemplateException(
                peek().line(), "expected %s, not %s".formatted(expected, peek().text()));
    }
}
