// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.time.LocalDate;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/// A chat template, parsed. Whatever it is given, and whoever wrote it, rendering ends after a
/// bounded number of steps and characters.
public final class Template {
    /// The day that templates see: the same text must give the same tokens on every day. It is the
    /// one that Llama 3.1's template has for its own default.
    static final LocalDate DAY = LocalDate.of(2024, 7, 26);

    private static final int LONGEST = 1 << 20;
    private static final long STEPS = 20_000_000;

    private final List<Node> nodes;

    private Template(List<Node> nodes) {
        this.nodes = nodes;
    }

    /// @throws TemplateException with the line that is not right
    public static Template parse(String source) {
        if (source.length() > LONGEST) {
            throw new TemplateException(0, "it is longer than a million characters");
        }
        return new Template(Parser.parse(source));
    }

    /// @param variables strings, Long, Double, Boolean, null, and lists and maps of such
    /// @param size characters in the variables, about: larger ones may take more steps
    /// @throws TemplateException where the template refuses them or does what it may not
    public String render(Map<String, Object> variables, long size) {
        Budget budget = new Budget(STEPS + 64 * size);
        Map<String, Object> all = new HashMap<>(globals(budget));
        all.putAll(variables);
        return Renderer.render(nodes, all, budget);
    }

    private static Map<String, Object> globals(Budget budget) {
        Map<String, Values.Function> functions =
                Map.of(
                        "raise_exception",
                        given -> {
                            throw new Refusal(given.text(0));
                        },
                        "strftime_now",
                        given -> date(given.text(0)),
                        "namespace",
                        Template::namespace,
                        "dict",
                        given -> new java.util.LinkedHashMap<Object, Object>(given.named()),
                        "range",
                        given -> range(given, budget));
        return new HashMap<>(functions);
    }

    private static Values.Namespace namespace(Arguments given) {
        Values.Namespace n = new Values.Namespace();
        for (Object map : given.args()) {
            if (!(map instanceof Map<?, ?> m)) {
                throw new Refusal("namespace takes mappings, not " + Values.type(map));
            }
            m.forEach((k, v) -> n.values.put(Arguments.text(k), v));
        }
        n.values.putAll(given.named());
        return n;
    }

    private static List<Object> range(Arguments given, Budget budget) {
        long first = given.args().size() > 1 ? given.whole(0, "start", 0) : 0;
        long end = given.whole(given.args().size() > 1 ? 1 : 0, "stop", 0);
        long step = given.whole(2, "step", 1);
        if (step == 0) {
            throw new Refusal("range has the step 0");
        }
        List<Object> all = new ArrayList<>();
        for (long i = first; step > 0 ? i < end : i > end; i += step) {
            budget.spend(8);
            all.add(i);
        }
        return all;
    }

    private static String date(String format) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < format.length(); i++) {
            char c = format.charAt(i);
            if (c != '%' || ++i == format.length()) {
                out.append(c);
                continue;
            }
            out.append(
                    switch (format.charAt(i)) {
                        case 'd' -> field("dd");
                        case 'b' -> field("MMM");
                        case 'B' -> field("MMMM");
                        case 'm' -> field("MM");
                        case 'Y' -> field("yyyy");
                        case 'y' -> field("yy");
                        case 'A' -> field("EEEE");
                        case 'a' -> field("EEE");
                        case 'j' -> field("DDD");
                        case 'H', 'M', 'S' -> "00";
                        case 'F' -> field("yyyy-MM-dd");
                        case '%' -> "%";
                        default ->
                                throw new Refusal(
                                        "strftime_now has no %" + format.charAt(i) + " here");
                    });
        }
        return out.toString();
    }

    private static String field(String pattern) {
        return DAY.format(DateTimeFormatter.ofPattern(pattern, Locale.ENGLISH));
    }
}
