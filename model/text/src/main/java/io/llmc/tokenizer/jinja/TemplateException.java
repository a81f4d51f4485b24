// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

/// A template that is not right, or that refuses what it was given.
public final class TemplateException extends RuntimeException {
    private final int line;

    TemplateException(int line, String message) {
        super(message);
        this.line = line;
    }

    /// In the template, from 1; 0 where it is not known.
    public int line() {
        return line;
    }
}
