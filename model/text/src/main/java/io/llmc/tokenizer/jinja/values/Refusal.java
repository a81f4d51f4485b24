// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja.values;

/// What goes wrong with a value; [Renderer] knows the line.
public final class Refusal extends RuntimeException {
    public Refusal(String message) {
        super(message);
    }
}
