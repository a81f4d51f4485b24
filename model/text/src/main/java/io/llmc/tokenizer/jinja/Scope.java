// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.values.Values;
import java.util.HashMap;
import java.util.Map;

/// Variables of a block, over those around it: what a loop sets ends with its round.
record Scope(Scope outer, Map<String, Object> values) {
    static Scope of(Map<String, Object> values) {
        return new Scope(null, new HashMap<>(values));
    }

    Scope inner() {
        return new Scope(this, new HashMap<>());
    }

    /// That of the template itself.
    Scope top() {
        Scope s = this;
        while (s.outer != null) {
            s = s.outer;
        }
        return s;
    }

    Object get(String name) {
        for (Scope s = this; s != null; s = s.outer) {
            if (s.values.containsKey(name)) {
                return s.values.get(name);
            }
        }
        return new Values.Undefined(name);
    }

    void set(String name, Object value) {
        values.put(name, value);
    }
}
