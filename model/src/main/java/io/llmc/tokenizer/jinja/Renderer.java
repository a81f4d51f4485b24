// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// Runs the statements of a template.
final class Renderer {
    /// What a set block has caught, for its filters; no template can write such a name.
    static final String CAPTURED = " captured";

    private enum Flow {
        ON,
        BREAK,
        CONTINUE
    }

    private final Budget budget;
    private final Evaluator evaluator;
    private int line;

    private Renderer(Budget budget) {
        this.budget = budget;
        this.evaluator = new Evaluator(budget);
    }

    static String render(List<Node> nodes, Map<String, Object> variables, Budget budget) {
        Renderer renderer = new Renderer(budget);
        StringBuilder out = new StringBuilder();
        try {
            renderer.run(nodes, Scope.of(variables), out);
        } catch (Refusal e) {
            throw new TemplateException(renderer.line, e.getMessage());
        } catch (StackOverflowError e) {
            // A chain of operators without brackets is parsed in a loop, but evaluated in depth.
            throw new TemplateException(renderer.line, "an expression is too long");
        }
        return out.toString();
    }

    private Flow run(List<Node> nodes, Scope scope, StringBuilder out) {
        for (Node node : nodes) {
            budget.spend(1);
            line = node.line();
            Flow flow = run(node, scope, out);
            if (flow != Flow.ON) {
                return flow;
            }
        }
        return Flow.ON;
    }

    private Flow run(Node node, Scope scope, StringBuilder out) {
        switch (node) {
            case Node.Text t -> write(t.text(), out);
            case Node.Output o -> write(Text.of(evaluator.value(o.value(), scope), budget), out);
            case Node.If i -> {
                return branch(i, scope, out);
            }
            case Node.For f -> loop(f, scope, out);
            case Node.Set s -> set(s, scope);
            case Node.SetBlock s -> {
                StringBuilder text = new StringBuilder();
                Scope inner = scope.inner();
                run(s.body(), inner, text);
                inner.set(CAPTURED, text.toString());
                scope.set(s.target(), evaluator.value(s.filters(), inner));
            }
            case Node.Macro m ->
                    scope.set(m.name(), (Values.Function) given -> macro(m, scope, given));
            case Node.Break _ -> {
                return Flow.BREAK;
            }
            case Node.Continue _ -> {
                return Flow.CONTINUE;
            }
            case Node.Body b -> {
                return run(b.body(), scope.inner(), out);
            }
        }
        return Flow.ON;
    }

    private void write(String text, StringBuilder out) {
        budget.spend(text.length());
        out.append(text);
    }

    private Flow branch(Node.If node, Scope scope, StringBuilder out) {
        for (Node.Branch b : node.branches()) {
            if (Values.isTrue(evaluator.value(b.condition(), scope))) {
                return run(b.body(), scope, out);
            }
        }
        return run(node.otherwise(), scope, out);
    }

    private void loop(Node.For node, Scope scope, StringBuilder out) {
        List<Object> items = new ArrayList<>();
        for (Object item : Values.items(evaluator.value(node.over(), scope), budget)) {
            Scope inner = scope.inner();
            assign(node.targets(), item, inner);
            if (node.condition() == null
                    || Values.isTrue(evaluator.value(node.condition(), inner))) {
                items.add(item);
            }
        }
        for (int i = 0; i < items.size(); i++) {
            budget.spend(1);
            Scope inner = scope.inner();
            inner.set("loop", place(items, i));
            assign(node.targets(), items.get(i), inner);
            if (run(node.body(), inner, out) == Flow.BREAK) {
                break;
            }
        }
        if (items.isEmpty()) {
            run(node.otherwise(), scope.inner(), out);
        }
    }

    /// What `loop` is in round `i`.
    private static Map<String, Object> place(List<Object> items, int i) {
        Map<String, Object> loop = new HashMap<>();
        loop.put("index0", (long) i);
        loop.put("index", i + 1L);
        loop.put("first", i == 0);
        loop.put("last", i == items.size() - 1);
        loop.put("length", (long) items.size());
        loop.put("revindex", (long) items.size() - i);
        loop.put("revindex0", items.size() - i - 1L);
        loop.put(
                "cycle",
                (Values.Function) given -> given.get(i % Math.max(1, given.args().size())));
        if (i > 0) {
            loop.put("previtem", items.get(i - 1));
        }
        if (i + 1 < items.size()) {
            loop.put("nextitem", items.get(i + 1));
        }
        return loop;
    }

    private void assign(List<String> targets, Object value, Scope scope) {
        if (targets.size() == 1) {
            scope.set(targets.getFirst(), value);
            return;
        }
        List<Object> parts = Values.items(value, budget);
        if (parts.size() != targets.size()) {
            throw new Refusal("%d values for %d names".formatted(parts.size(), targets.size()));
        }
        for (int i = 0; i < parts.size(); i++) {
            scope.set(targets.get(i), parts.get(i));
        }
    }

    private void set(Node.Set node, Scope scope) {
        Object value = evaluator.value(node.value(), scope);
        if (node.attribute() == null) {
            assign(node.targets(), value, scope);
        } else if (scope.get(node.targets().getFirst()) instanceof Values.Namespace n) {
            n.values.put(node.attribute(), value);
        } else {
            throw new Refusal("%s is no namespace".formatted(node.targets().getFirst()));
        }
    }

    private String macro(Node.Macro macro, Scope scope, Arguments given) {
        if (given.args().size() > macro.parameters().size()) {
            throw new Refusal("too many arguments for " + macro.name());
        }
        for (String name : given.named().keySet()) {
            if (!macro.parameters().contains(name)) {
                throw new Refusal("%s has no argument %s".formatted(macro.name(), name));
            }
        }
        int caller = line;
        budget.enter();
        Scope inner = scope.inner();
        for (int i = 0; i < macro.parameters().size(); i++) {
            String name = macro.parameters().get(i);
            Expr absent = macro.defaults().get(i);
            Object value = given.get(i, name, absent == null ? new Values.Undefined(name) : absent);
            inner.set(name, value instanceof Expr e ? evaluator.value(e, inner) : value);
        }
        StringBuilder out = new StringBuilder();
        run(macro.body(), inner, out);
        budget.leave();
        line = caller;
        return out.toString();
    }
}
