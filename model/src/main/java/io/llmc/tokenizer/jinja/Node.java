// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.List;

/// A statement of a template.
sealed interface Node {
    /// In the template, from 1.
    int line();

    record Text(int line, String text) implements Node {}

    record Output(int line, Expr value) implements Node {}

    record Branch(Expr condition, List<Node> body) {}

    record If(int line, List<Branch> branches, List<Node> otherwise) implements Node {}

    /// @param targets more than one take a list apart
    /// @param condition null for none
    record For(
            int line,
            List<String> targets,
            Expr over,
            Expr condition,
            List<Node> body,
            List<Node> otherwise)
            implements Node {}

    /// @param attribute of a namespace that the first target names; null for a variable
    record Set(int line, List<String> targets, String attribute, Expr value) implements Node {}

    /// @param filters over the text, the outermost last
    record SetBlock(int line, String target, Expr filters, List<Node> body) implements Node {}

    /// @param defaults null for a parameter without one
    record Macro(
            int line, String name, List<String> parameters, List<Expr> defaults, List<Node> body)
            implements Node {}

    record Break(int line) implements Node {}

    record Continue(int line) implements Node {}

    /// What only marks a part, as `generation` does.
    record Body(int line, List<Node> body) implements Node {}
}
