// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

import com.google.errorprone.annotations.MustBeClosed;

/// A sequence of tokens whose keys and values are cached. Not for use by several threads.
public final class Sequence implements AutoCloseable {
    private final PagePool pool;

    /// Of each kind of layers: see [PagePool#kinds].
    private final PageTable[] tables;

    private final SequenceState state;
    private int length;

    Sequence(PagePool pool, PageTable[] tables, SequenceState state, int length) {
        this.pool = pool;
        this.tables = tables;
        this.state = state;
        this.length = length;
    }

    /// Tokens that are cached.
    public int length() {
        return length;
    }

    PageTable table(int kind) {
        return tables[kind];
    }

    SequenceState state() {
        return state;
    }

    void advanced(int tokens) {
        length += tokens;
        state.advanced();
    }

    /// Another sequence that begins as this one is now. Pages belong to both; whoever writes first
    /// to one that is partly filled gets a copy.
    @MustBeClosed
    public Sequence fork() {
        return pool.fork(this, tables);
    }

    /// Whether it may be cut back: by as many tokens as the cache's settings say, and, where layers
    /// have states of all of it, by all or none.
    public boolean allows(int to) {
        boolean undone = to >= 0 && to <= length && length - to <= pool.settings().undone();
        return to == length || undone && state.allows(to);
    }

    /// Forgets tokens at the end.
    ///
    /// @throws IllegalArgumentException where that is not allowed
    public void truncate(int to) {
        if (to == length) {
            return;
        }
        if (!allows(to)) {
            throw new IllegalArgumentException(
                    "a sequence of %d tokens cannot be cut back to %d".formatted(length, to));
        }
        for (PageTable table : tables) {
            table.cut(to);
        }
        if (to == 0) {
            state.clear();
        }
        length = to;
    }

    /// Gives its pages back.
    @Override
    public void close() {
        for (PageTable table : tables) {
            table.clear();
        }
        state.clear();
        length = 0;
    }
}
