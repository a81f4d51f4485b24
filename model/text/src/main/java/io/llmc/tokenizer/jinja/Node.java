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

    /// @param condition null for none
    /// @param recursive whether `loop(...)` runs the body over other items
    record For(
            int line,
            Target target,
            Expr over,
            Expr condition,
            List<Node> body,
            List<Node> otherwise,
            boolean recursive)
            implements Node {}

    record Set(int line, Target target, Expr value) implements Node {}

    /// @param filters over the text, the outermost last
    record SetBlock(int line, Target target, Expr filters, List<Node> body) implements Node {}

    /// The text of a body through filters.
    record FilterBlock(int line, Expr filters, List<Node> body) implements Node {}

    /// @param values of the targets, seen from outside
    record With(int line, List<Target> targets, List<Expr> values, List<Node> body)
            implements Node {}

    /// @param defaults null for a parameter without one
    record Signature(List<String> parameters, List<Expr> defaults) {}

    /// @param uses names in the body: of `caller`, `varargs` and `kwargs` those that it has
    record Macro(
            int line, String name, Signature signature, List<Node> body, java.util.Set<String> uses)
            implements Node {}

    /// @param caller what the called macro gets under this name
    record CallBlock(int line, Macro caller, Expr.Call call) implements Node {}

    record Break(int line) implements Node {}

    record Continue(int line) implements Node {}

    /// What only marks a part, as `generation` does.
    ///
    /// @param atTop whether it sees nothing but the variables of the template, as `block` does
    record Body(int line, List<Node> body, boolean atTop) implements Node {}

    /// What would need another file; there is none.
    record Elsewhere(int line, String tag) implements Node {}
}
