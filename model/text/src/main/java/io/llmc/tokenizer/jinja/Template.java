// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.values.Arguments;
import io.llmc.tokenizer.jinja.values.Budget;
import io.llmc.tokenizer.jinja.values.Comparison;
import io.llmc.tokenizer.jinja.values.Dates;
import io.llmc.tokenizer.jinja.values.Refusal;
import io.llmc.tokenizer.jinja.values.Sequences;
import io.llmc.tokenizer.jinja.values.Text;
import io.llmc.tokenizer.jinja.values.Values;
import java.time.LocalDateTime;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// A template, parsed. Whatever it is given, and whoever wrote it, rendering ends after a bounded
/// number of steps and characters.
public final class Template {
    /// The time that templates see: the same text must give the same tokens on every day. It is the
    /// one that Llama 3.1's template has for its own default.
    private static final LocalDateTime NOW = LocalDateTime.of(2024, 7, 26, 0, 0);

    private static final int LONGEST = 1 << 20;
    private static final long STEPS = 20_000_000;

    private final List<Node> nodes;
    private final boolean plain;

    private Template(List<Node> nodes, boolean plain) {
        this.nodes = nodes;
        this.plain = plain;
    }

    /// A chat template, with the settings of transformers: the newline behind a tag goes, and the
    /// blanks before it; what is undefined is written as nothing.
    ///
    /// @throws TemplateException with the line that is not right
    public static Template parse(String source) {
        return parse(source, false);
    }

    /// A template in which every blank and newline stays, and in which what is undefined cannot be
    /// written.
    ///
    /// @throws TemplateException with the line that is not right
    public static Template plain(String source) {
        return parse(source, true);
    }

    private static Template parse(String source, boolean plain) {
        if (source.length() > LONGEST) {
            throw new TemplateException(0, "it is longer than a million characters");
        }
        return new Template(Parser.parse(source, plain), plain);
    }

    /// @param variables strings, Long, BigInteger, Double, Boolean, null, and lists and maps of
    ///   such
    /// @param size characters in the variables, about: larger ones may take more steps
    /// @throws TemplateException where the template refuses them or does what it may not
    public String render(Map<String, Object> variables, long size) {
        return render(variables, size, NOW);
    }

    /// As [#render(Map, long)], but up to the end of the last message's text, for a model that is
    /// to continue it.
    public String renderContinued(Map<String, Object> variables, long size) {
        return Continuation.render(this, variables, size, NOW);
    }

    String render(Map<String, Object> variables, long size, LocalDateTime now) {
        Budget budget = new Budget(STEPS + 64 * size);
        return Renderer.render(nodes, all(variables, budget, now), budget, plain);
    }

    /// Of a template that is one expression in braces, what that is worth; of others, the text. A
    /// tuple comes as a list.
    ///
    /// @param variables as in [#render(Map, long)]
    public Object value(Map<String, Object> variables, long size) {
        if (nodes.size() != 1 || !(nodes.getFirst() instanceof Node.Output only)) {
            return render(variables, size);
        }
        Budget budget = new Budget(STEPS + 64 * size);
        Object value = Renderer.value(only, all(variables, budget, NOW), budget);
        return value instanceof Values.Tuple t ? t.items() : value;
    }

    private static Map<String, Object> all(
            Map<String, Object> variables, Budget budget, LocalDateTime now) {
        Map<String, Object> all = new HashMap<>(globals(budget, now));
        all.putAll(variables);
        return all;
    }

    private static Map<String, Values.Function> globals(Budget budget, LocalDateTime now) {
        return Map.of(
                "raise_exception",
                given -> {
                    Object message = given.named(1, "message").get(0, "message", null);
                    throw new Refusal(Text.of(message, budget));
                },
                "strftime_now",
                given -> {
                    Object format = given.named(1, "format").get(0, "format", null);
                    return Dates.format(Arguments.text(format), now);
                },
                "namespace",
                given -> namespace(given, budget),
                "dict",
                given -> mapping(given, budget),
                "range",
                given -> new Sequences(budget).range(given),
                "cycler",
                Loop::cycler,
                "joiner",
                Loop::joiner,
                "lipsum",
                given -> {
                    throw new Refusal("lipsum draws at random, which is not known here");
                });
    }

    private static Values.Namespace namespace(Arguments given, Budget budget) {
        Values.Namespace n = new Values.Namespace();
        mapping(given, budget).forEach((k, v) -> n.values.put(Text.of(k, budget), v));
        return n;
    }

    /// `dict(...)` of a mapping or of pairs, and of what has names.
    private static Map<Object, Object> mapping(Arguments given, Budget budget) {
        Map<Object, Object> mapping = new LinkedHashMap<>();
        Comparison comparison = new Comparison(budget);
        Sequences sequences = new Sequences(budget);
        for (Object of : new Arguments(given.args(), Map.of()).positional(0, 1).args()) {
            for (Object pair :
                    of instanceof Map<?, ?> m ? sequences.pairs(m) : sequences.items(of)) {
                List<Object> both = sequences.items(pair);
                if (both.size() != 2) {
                    throw new Refusal("a mapping is made of pairs");
                }
                comparison.put(mapping, both.getFirst(), both.getLast());
            }
        }
        mapping.putAll(given.named());
        return mapping;
    }
}
