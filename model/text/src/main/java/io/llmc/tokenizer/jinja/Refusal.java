// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

/// What goes wrong with a value; [Renderer] knows the line.
final class Refusal extends RuntimeException {
    Refusal(String message) {
        super(message);
    }
}
