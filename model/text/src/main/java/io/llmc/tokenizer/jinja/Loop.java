// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import io.llmc.tokenizer.jinja.values.Arguments;
import io.llmc.tokenizer.jinja.values.Budget;
import io.llmc.tokenizer.jinja.values.Comparison;
import io.llmc.tokenizer.jinja.values.Refusal;
import io.llmc.tokenizer.jinja.values.Values;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.function.BiFunction;

/// What `loop` is. Of a generator it takes no item before it must, since what the body does may
/// change which come.
final class Loop implements Values.Attributes, Values.Function {
    private static final Object NONE = new Object();

    private final Iterator<Object> items;
    private final Deque<Object[]> ahead = new ArrayDeque<>();
    private final Budget budget;
    private final int depth;
    private final BiFunction<Object, Integer, String> again;

    private long index = -1;
    private Object before = NONE;
    private Object current = NONE;
    private Object changed = NONE;

    /// @param depth from 0
    /// @param again runs the body over other items one level deeper; null where it may not
    Loop(
            Iterator<Object> items,
            int depth,
            BiFunction<Object, Integer, String> again,
            Budget budget) {
        this.items = items;
        this.depth = depth;
        this.again = again;
        this.budget = budget;
    }

    private boolean hasNext() {
        if (ahead.isEmpty() && items.hasNext()) {
            ahead.add(new Object[] {items.next()});
        }
        return !ahead.isEmpty();
    }

    /// Goes on to the next item, if there is one.
    boolean advance() {
        if (!hasNext()) {
            return false;
        }
        before = current;
        current = ahead.remove()[0];
        index++;
        return true;
    }

    Object current() {
        return current;
    }

    private long length() {
        while (items.hasNext()) {
            budget.spend(1);
            ahead.add(new Object[] {items.next()});
        }
        return index + 1 + ahead.size();
    }

    @Override
    public Object attribute(String name) {
        return switch (name) {
            case "index0" -> index;
            case "index" -> index + 1;
            case "first" -> index == 0;
            case "last" -> !hasNext();
            case "length" -> length();
            case "revindex" -> length() - index;
            case "revindex0" -> length() - index - 1;
            case "depth" -> depth + 1L;
            case "depth0" -> (long) depth;
            case "previtem" -> before == NONE ? new Values.Undefined("the item before") : before;
            case "nextitem" ->
                    hasNext() ? ahead.peek()[0] : new Values.Undefined("the item behind");
            case "cycle" -> (Values.Function) this::cycle;
            case "changed" -> (Values.Function) this::changed;
            default -> new Values.Undefined(name);
        };
    }

    private Object cycle(Arguments given) {
        if (given.args().isEmpty()) {
            throw new Refusal("there is nothing to cycle through");
        }
        return given.get((int) (index % given.args().size()));
    }

    private Object changed(Arguments given) {
        Values.Tuple now = new Values.Tuple(given.args(), false);
        boolean changes = changed == NONE || !new Comparison(budget).same(changed, now);
        changed = now;
        return changes;
    }

    @Override
    public Object call(Arguments given) {
        if (again == null) {
            throw new Refusal("the loop is not recursive");
        }
        return again.apply(given.positional(1, 1).get(0), depth + 1);
    }

    /// `cycler(...)`.
    static Values.Attributes cycler(Arguments given) {
        if (given.positional(1, Integer.MAX_VALUE).args().isEmpty()) {
            throw new Refusal("there is nothing to cycle through");
        }
        int[] at = new int[1];
        return name ->
                switch (name) {
                    case "current" -> given.get(at[0]);
                    case "next" ->
                            (Values.Function)
                                    none -> {
                                        Object now = given.get(at[0]);
                                        at[0] = (at[0] + 1) % given.args().size();
                                        return now;
                                    };
                    case "reset" ->
                            (Values.Function)
                                    none -> {
                                        at[0] = 0;
                                        return null;
                                    };
                    default -> new Values.Undefined(name);
                };
    }

    /// `joiner(sep)`: nothing when it is first called, then the separator.
    static Values.Function joiner(Arguments given) {
        Object separator = given.named(0, "sep").get(0, "sep", ", ");
        boolean[] used = new boolean[1];
        return none -> {
            boolean first = !used[0];
            used[0] = true;
            return first ? "" : separator;
        };
    }
}
