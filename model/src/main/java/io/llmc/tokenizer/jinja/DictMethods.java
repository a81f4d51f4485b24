// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;

/// Python's methods of dictionaries that change nothing.
final class DictMethods {
    static final Set<String> NAMES = Set.of("get", "items", "keys", "values");

    private DictMethods() {}

    static Object apply(Map<?, ?> m, String name, Arguments given, Budget budget) {
        return switch (name) {
            case "get" ->
                    m.containsKey(Values.key(given.get(0)))
                            ? m.get(given.get(0))
                            : given.get(1, "default", null);
            case "items" -> items(m, budget);
            case "keys" -> Values.items(m, budget);
            case "values" -> Values.items(new ArrayList<>(m.values()), budget);
            default -> throw new Refusal("mappings have no method " + name);
        };
    }

    static List<Object> items(Map<?, ?> m, Budget budget) {
        budget.spend(m.size());
        List<Object> items = new ArrayList<>();
        m.forEach((k, v) -> items.add(Arrays.asList(k, v)));
        return items;
    }
}
