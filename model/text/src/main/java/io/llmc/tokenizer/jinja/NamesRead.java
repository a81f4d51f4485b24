// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/// The names that stand in what was parsed so far: variables, and filters and tests that do not
/// exist.
final class NamesRead {
    private Set<String> names = new HashSet<>();
    private final List<TemplateException> unknown = new ArrayList<>();

    void add(String variable) {
        names.add(variable);
    }

    /// @param why the template is refused, unless it is forgiven
    void lacks(TemplateException why) {
        unknown.add(why);
    }

    /// How many names of filters and tests that do not exist stand in what was read so far. Jinja
    /// forgives them in branches, where they may not be reached.
    int unknown() {
        return unknown.size();
    }

    /// Forgives those behind a mark.
    void forgive(int mark) {
        unknown.subList(mark, unknown.size()).clear();
    }

    /// Forgives none behind a mark.
    void require(int mark) {
        if (unknown.size() > mark) {
            throw unknown.get(mark);
        }
    }

    /// The variables that are read in what `body` parses.
    Set<String> namesIn(Runnable body) {
        Set<String> before = names;
        names = new HashSet<>();
        body.run();
        Set<String> inside = names;
        names = before;
        names.addAll(inside);
        return inside;
    }
}
