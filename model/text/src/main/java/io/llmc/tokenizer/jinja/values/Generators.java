// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;
import java.util.function.Supplier;

/// Sequences that are made while something runs over them, as Python's generators.
record Generators(Budget budget) {
    /// What a generator ends with.
    static final Object END = new Object();

    /// A generator of what a supplier gives until [#END]; each item costs a step.
    private Values.Stream stream(Supplier<Object> supplier) {
        return new Values.Stream(
                new Iterator<>() {
                    private Object ahead;
                    private boolean looked;

                    @Override
                    public boolean hasNext() {
                        if (!looked) {
                            budget.spend(1);
                            ahead = supplier.get();
                            looked = true;
                        }
                        return ahead != END;
                    }

                    @Override
                    public Object next() {
                        if (!hasNext()) {
                            throw new NoSuchElementException();
                        }
                        looked = false;
                        return ahead;
                    }
                });
    }

    /// A generator over items that are found when the first is wanted.
    Values.Stream later(Supplier<Iterator<Object>> items) {
        return later(items, all -> all.hasNext() ? all.next() : END);
    }

    /// The same, with what `next` makes of the items that are left.
    Values.Stream later(Supplier<Iterator<Object>> items, Function<Iterator<Object>, Object> next) {
        List<Iterator<Object>> found = new ArrayList<>(1);
        return stream(() -> {
            if (found.isEmpty()) {
                found.add(items.get());
            }
            return next.apply(found.getFirst());
        });
    }
}
