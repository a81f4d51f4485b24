// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.List;
import java.util.Map;

/// What a function, filter or test is given.
public record Arguments(List<Object> args, Map<String, Object> named) {
    static final Arguments NONE = new Arguments(List.of(), Map.of());

    /// These arguments, if they fit such parameters.
    ///
    /// @param required the first ones that must be there
    /// @throws Refusal where there are others, or one twice
    public Arguments named(int required, String... names) {
        List<String> known = List.of(names);
        if (args.size() > names.length) {
            throw new Refusal("too many arguments, at most %d fit".formatted(names.length));
        }
        for (String name : named.keySet()) {
            if (known.indexOf(name) < args.size()) {
                throw new Refusal("there is no argument %s, or it is given twice".formatted(name));
            }
        }
        for (int i = args.size(); i < required; i++) {
            if (!named.containsKey(names[i])) {
                throw new Refusal("the argument %s is missing".formatted(names[i]));
            }
        }
        return this;
    }

    /// These arguments, if they are so many and have no names.
    public Arguments positional(int least, int most) {
        if (!named.isEmpty() || args.size() < least || args.size() > most) {
            throw new Refusal(
                    least == most
                            ? "expected %d arguments without names".formatted(least)
                            : "expected %d to %d arguments without names".formatted(least, most));
        }
        return this;
    }

    /// The argument at a place or under a name.
    public Object get(int place, String name, Object absent) {
        return place < args.size()
                ? args.get(place)
                : named.containsKey(name) ? named.get(name) : absent;
    }

    public Object get(int place) {
        if (place >= args.size()) {
            throw new Refusal("an argument is missing");
        }
        return args.get(place);
    }

    public String text(int place) {
        return text(get(place));
    }

    public static String text(Object v) {
        String text = Values.string(v);
        if (text == null) {
            throw new Refusal("expected a string, not " + Values.type(v));
        }
        return text;
    }

    long whole(int place, String name, long absent) {
        Object v = get(place, name, absent);
        Long whole = Values.whole(v);
        if (whole == null) {
            throw new Refusal("expected a whole number, not " + Values.type(v));
        }
        return whole;
    }

    boolean flag(int place, String name) {
        return Values.isTrue(get(place, name, false));
    }

    public Arguments from(int place) {
        return new Arguments(args.subList(Math.min(place, args.size()), args.size()), named);
    }
}
