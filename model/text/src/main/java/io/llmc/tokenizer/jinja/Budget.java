// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

/// How much a template may do: every step costs one, every character or item that is made another.
/// It bounds time, memory and output at once.
final class Budget {
    private static final int DEEPEST = 250;

    private long left;
    private int depth;

    Budget(long left) {
        this.left = left;
    }

    void spend(long cost) {
        left -= cost;
        if (left < 0) {
            throw new Refusal("it does more work than a chat template should");
        }
    }

    /// Into a macro or a nested value.
    void enter() {
        if (++depth > DEEPEST) {
            throw new Refusal("macros or values are too deeply nested");
        }
    }

    void leave() {
        depth--;
    }
}
