// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

/// Something that cannot be done, and what the user can do about it. Exit code 1.
public class UserException extends RuntimeException {
    private final String hint;

    /// @param message what, where, what was expected; one sentence
    /// @param hint what to do; may be empty
    public UserException(String message, String hint) {
        super(message);
        this.hint = hint;
    }

    public String hint() {
        return hint;
    }
}
