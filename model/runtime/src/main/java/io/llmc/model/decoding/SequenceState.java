// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

/// Where the states of one sequence lie.
final class SequenceState {
    /// Of a sequence without tokens, whose states are zeros.
    static final int NOWHERE = -1;

    private final StatePool pool;
    private int place = NOWHERE;

    /// Whether the place holds anything yet.
    private boolean begun;

    SequenceState(StatePool pool) {
        this.pool = pool;
    }

    /// Takes a place for what a pass will leave.
    void prepare() {
        if (pool.any() && place == NOWHERE) {
            place = pool.take();
        }
    }

    /// Where the states before a pass are.
    int begin() {
        return begun ? place : NOWHERE;
    }

    /// Where those behind it go.
    int end() {
        return place;
    }

    void advanced() {
        begun = true;
    }

    SequenceState forked() {
        SequenceState other = new SequenceState(pool);
        if (begun && place != NOWHERE) {
            other.prepare();
            other.begun = true;
            pool.copy(place, other.place);
        }
        return other;
    }

    /// Whether a sequence may be cut back.
    ///
    /// @param tokens that would be left
    boolean allows(int tokens) {
        return !pool.any() || tokens == 0;
    }

    void clear() {
        if (place != NOWHERE) {
            pool.give(place);
            place = NOWHERE;
        }
        begun = false;
    }
}
