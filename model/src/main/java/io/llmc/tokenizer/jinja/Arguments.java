// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.List;
import java.util.Map;

/// What a function, filter or test is given.
record Arguments(List<Object> args, Map<String, Object> named) {
    /// The argument at a place or under a name.
    Object get(int place, String name, Object absent) {
        return place < args.size()
                ? args.get(place)
                : named.containsKey(name) ? named.get(name) : absent;
    }

    Object get(int place) {
        if (place >= args.size()) {
            throw new Refusal("an argument is missing");
        }
        return args.get(place);
    }

    String text(int place) {
        return text(get(place));
    }

    static String text(Object v) {
        if (v instanceof String s) {
            return s;
        }
        throw new Refusal("expected a string, not " + Values.type(v));
    }

    long whole(int place, String name, long absent) {
        Object v = get(place, name, absent);
        Long whole = Values.whole(v);
        if (whole == null) {
            throw new Refusal("expected a whole number, not " + Values.type(v));
        }
        return whole;
    }
}
