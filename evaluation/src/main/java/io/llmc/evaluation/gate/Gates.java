// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.gate;

import io.llmc.pipeline.Options;
import io.llmc.pipeline.RecipeException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;

/// The bounds that a measurement must keep.
public record Gates(List<Gate> gates) {
    /// @throws RecipeException where one of the texts is no gate
    public static Gates parse(List<String> texts) {
        return new Gates(texts.stream().map(Gate::parse).toList());
    }

    public boolean isEmpty() {
        return gates.isEmpty();
    }

    /// @param names of the figures that there will be, or are
    /// @param against those that a comparison with an original has
    /// @throws RecipeException naming the first figure that is none, and what is near
    public void requireKnown(Set<String> names, Set<String> against) {
        for (Gate gate : gates) {
            if (!names.contains(gate.figure())) {
                if (against.contains(gate.figure())) {
                    throw new RecipeException(
                            "{gate}",
                            "%s is a figure of a comparison: name the original with {against}, or a base of its predictions with {kldBase}"
                                    .formatted(gate.figure()));
                }
                throw new RecipeException(
                        "{gate}",
                        "there is no figure %s here%s"
                                .formatted(
                                        gate.figure(),
                                        Options.nearest(gate.figure(), names)
                                                .map("; did you mean %s?"::formatted)
                                                .orElse(
                                                        "; there are "
                                                                + String.join(", ", names))));
            }
        }
    }

    /// @param figures as JSON has them: numbers, null for what is no number, objects, lists
    /// @throws RecipeException where a gate is about none of them
    public List<Verdict> judge(Map<String, ?> figures) {
        SequencedMap<String, Double> numbers = numbers(figures);
        requireKnown(numbers.keySet(), Set.of());
        return gates.stream().map(gate -> new Verdict(gate, numbers.get(gate.figure()))).toList();
    }

    /// The numbers among figures, and what should be one, as NaN; names within objects and lists
    /// are joined by dots: `tasks.piqa.acc`.
    public static SequencedMap<String, Double> numbers(Map<String, ?> figures) {
        SequencedMap<String, Double> numbers = new LinkedHashMap<>();
        figures.forEach((name, value) -> put(numbers, name, value));
        return numbers;
    }

    private static void put(SequencedMap<String, Double> numbers, String name, Object value) {
        switch (value) {
            case null -> numbers.put(name, Double.NaN);
            case Number n -> numbers.put(name, n.doubleValue());
            case Map<?, ?> map -> map.forEach((key, v) -> put(numbers, name + "." + key, v));
            case List<?> list -> {
                for (int i = 0; i < list.size(); i++) {
                    if (list.get(i) instanceof Map) {
                        put(numbers, name + "." + i, list.get(i));
                    }
                }
            }
            default -> {} // a text
        }
    }
}
