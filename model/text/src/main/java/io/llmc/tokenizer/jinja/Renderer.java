// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.values.Arguments;
import io.llmc.tokenizer.jinja.values.Budget;
import io.llmc.tokenizer.jinja.values.Refusal;
import io.llmc.tokenizer.jinja.values.Sequences;
import io.llmc.tokenizer.jinja.values.Text;
import io.llmc.tokenizer.jinja.values.Values;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.function.BiFunction;
import java.util.function.Supplier;

/// Runs the statements of a template.
public final class Renderer {
    /// What a set block has caught, for its filters; no template can write such a name.
    static final String CAPTURED = " captured";

    private enum Flow {
        ON,
        BREAK,
        CONTINUE
    }

    private final Budget budget;
    private final Interpreter evaluator;

    /// Whether what is undefined cannot be written.
    private final boolean strict;

    private int line;

    private Renderer(Budget budget, boolean strict) {
        this.budget = budget;
        this.evaluator = new Interpreter(budget);
        this.strict = strict;
    }

    static String render(
            List<Node> nodes, Map<String, Object> variables, Budget budget, boolean strict) {
        StringBuilder out = new StringBuilder();
        Renderer renderer = new Renderer(budget, strict);
        renderer.guarded(() -> renderer.run(nodes, Scope.of(variables), out));
        return out.toString();
    }

    /// What the only expression of a template is worth.
    static Object value(Node.Output only, Map<String, Object> variables, Budget budget) {
        Renderer renderer = new Renderer(budget, true);
        renderer.line = only.line();
        return renderer.guarded(() -> renderer.written(only, Scope.of(variables)));
    }

    private <T> T guarded(Supplier<T> work) {
        try {
            return work.get();
        } catch (Refusal e) {
            throw new TemplateException(line, e.getMessage());
        } catch (StackOverflowError e) {
            // A chain of operators without brackets is parsed in a loop, but evaluated in depth.
            throw new TemplateException(line, "an expression is too long");
        }
    }

    private Object written(Node.Output output, Scope scope) {
        Object value = evaluator.value(output.value(), scope);
        if (strict && value instanceof Values.Undefined u) {
            throw new Refusal(u.what() + " is undefined");
        }
        return value;
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
            case Node.Output o -> write(Text.of(written(o, scope), budget), out);
            case Node.If i -> {
                return branch(i, scope, out);
            }
            case Node.For f -> loop(f, scope, out);
            case Node.Set s -> assign(s.target(), evaluator.value(s.value(), scope), scope);
            case Node.SetBlock s ->
                    assign(s.target(), captured(s.body(), s.filters(), scope), scope);
            case Node.FilterBlock f ->
                    write(Arguments.text(captured(f.body(), f.filters(), scope)), out);
            case Node.With w -> {
                Scope inner = scope.inner();
                for (int i = 0; i < w.targets().size(); i++) {
                    assign(w.targets().get(i), evaluator.value(w.values().get(i), scope), inner);
                }
                return run(w.body(), inner, out);
            }
            case Node.Macro m -> scope.set(m.name(), function(m, scope));
            case Node.CallBlock c -> {
                Arguments given = evaluator.given(c.call().given(), scope);
                Map<String, Object> named = new LinkedHashMap<>(given.named());
                if (named.put("caller", function(c.caller(), scope)) != null) {
                    throw new Refusal("a call block gives caller itself");
                }
                Object of = evaluator.value(c.call().of(), scope);
                write(Text.of(evaluator.call(of, new Arguments(given.args(), named)), budget), out);
            }
            case Node.Break _ -> {
                return Flow.BREAK;
            }
            case Node.Continue _ -> {
                return Flow.CONTINUE;
            }
            case Node.Body b -> {
                return run(b.body(), (b.atTop() ? scope.top() : scope).inner(), out);
            }
            case Node.Elsewhere e ->
                    throw new Refusal("there is no other template to %s".formatted(e.tag()));
        }
        return Flow.ON;
    }

    /// The text of a body, through filters.
    private Object captured(List<Node> body, Expr filters, Scope scope) {
        StringBuilder text = new StringBuilder();
        Scope inner = scope.inner();
        run(body, inner, text);
        inner.set(CAPTURED, text.toString());
        return evaluator.value(filters, inner);
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
        loop(node, evaluator.value(node.over(), scope), 0, scope, out);
    }

    private void loop(Node.For node, Object over, int depth, Scope scope, StringBuilder out) {
        Iterator<Object> items = new Sequences(budget).iterator(over);
        BiFunction<Object, Integer, String> again =
                (more, deeper) -> {
                    StringBuilder text = new StringBuilder();
                    budget.enter();
                    loop(node, more, deeper, scope, text);
                    budget.leave();
                    return text.toString();
                };
        Loop loop =
                new Loop(
                        node.condition() == null ? items : chosen(items, node, scope),
                        depth,
                        node.recursive() ? again : null,
                        budget);
        boolean any = false;
        while (loop.advance()) {
            any = true;
            budget.spend(1);
            Scope inner = scope.inner();
            inner.set("loop", loop);
            assign(node.target(), loop.current(), inner);
            if (run(node.body(), inner, out) == Flow.BREAK) {
                break;
            }
        }
        if (!any) {
            run(node.otherwise(), scope.inner(), out);
        }
    }

    /// The items for which the condition of a loop holds, one by one.
    private Iterator<Object> chosen(Iterator<Object> items, Node.For node, Scope scope) {
        return new Iterator<>() {
            private final Deque<Object[]> found = new ArrayDeque<>();

            @Override
            public boolean hasNext() {
                while (found.isEmpty() && items.hasNext()) {
                    budget.spend(1);
                    Object item = items.next();
                    Scope inner = scope.inner();
                    assign(node.target(), item, inner);
                    if (Values.isTrue(evaluator.value(node.condition(), inner))) {
                        found.add(new Object[] {item});
                    }
                }
                return !found.isEmpty();
            }

            @Override
            public Object next() {
                if (!hasNext()) {
                    throw new NoSuchElementException();
                }
                return found.remove()[0];
            }
        };
    }

    private void assign(Target target, Object value, Scope scope) {
        switch (target) {
            case Target.Name n -> scope.set(n.name(), value);
            case Target.Attribute a -> {
                if (!(scope.get(a.namespace()) instanceof Values.Namespace n)) {
                    throw new Refusal("%s is no namespace".formatted(a.namespace()));
                }
                n.values.put(a.name(), value);
            }
            case Target.Parts p -> {
                List<Object> items = new Sequences(budget).items(value);
                if (items.size() != p.parts().size()) {
                    throw new Refusal(
                            "%d values for %d names".formatted(items.size(), p.parts().size()));
                }
                for (int i = 0; i < items.size(); i++) {
                    assign(p.parts().get(i), items.get(i), scope);
                }
            }
        }
    }

    private Values.Function function(Node.Macro macro, Scope scope) {
        return given -> call(macro, scope, given);
    }

    private String call(Node.Macro macro, Scope scope, Arguments given) {
        int caller = line;
        budget.enter();
        Scope inner = scope.inner();
        bind(macro, inner, given);
        StringBuilder out = new StringBuilder();
        run(macro.body(), inner, out);
        budget.leave();
        line = caller;
        return out.toString();
    }

    private void bind(Node.Macro macro, Scope inner, Arguments given) {
        List<String> names = macro.signature().parameters();
        Map<String, Object> rest = new LinkedHashMap<>(given.named());
        for (int i = 0; i < names.size(); i++) {
            if (i < given.args().size()) {
                inner.set(names.get(i), given.get(i));
            } else if (rest.containsKey(names.get(i))) {
                inner.set(names.get(i), rest.remove(names.get(i)));
            }
        }
        for (int i = given.args().size(); i < names.size(); i++) {
            if (!inner.values().containsKey(names.get(i))) {
                Expr absent = macro.signature().defaults().get(i);
                inner.set(
                        names.get(i),
                        absent == null
                                ? new Values.Undefined(names.get(i))
                                : evaluator.value(absent, inner));
            }
        }
        if (macro.uses().contains("caller") && !names.contains("caller")) {
            Object none = new Values.Undefined("caller");
            inner.set("caller", rest.containsKey("caller") ? rest.remove("caller") : none);
        }
        if (macro.uses().contains("kwargs")) {
            inner.set("kwargs", rest);
        } else if (!rest.isEmpty()) {
            throw new Refusal(
                    "%s has no argument %s, or it is given twice"
                            .formatted(macro.name(), rest.keySet().iterator().next()));
        }
        if (macro.uses().contains("varargs")) {
            inner.set("varargs", new Values.Tuple(given.from(names.size()).args(), false));
        } else if (given.args().size() > names.size()) {
            throw new Refusal("too many arguments for " + macro.name());
        }
    }
}
