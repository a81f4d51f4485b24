// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

/// How much a template may do: every step costs one, every character or item that is made another.
/// It bounds time, memory and output at once.
public final class Budget {
    private static final int DEEPEST = 250;

    private long left;
    private int depth;

    public Budget(long left) {
        this.left = left;
    }

    public void spend(long cost) {
        left -= cost;
        if (left < 0) {
            throw new Refusal("it does more work than a chat template should");
        }
    }

    /// Into a macro or a nested value.
    public void enter() {
        if (++depth > DEEPEST) {
            throw new Refusal("macros or values are too deeply nested");
        }
    }

    public void leave() {
        depth--;
    }
}
