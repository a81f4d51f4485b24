// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

/// A recipe, or the flags that stand for one, says something that llmc does not understand. Exit
/// code 2.
public final class RecipeException extends RuntimeException {
    private final String where;
    private final String what;

    /// @param where file and line, or the flag
    public RecipeException(String where, String message) {
        super(where + ": " + message);
        this.where = where;
        this.what = message;
    }

    /// The same, with what it happened in.
    public RecipeException in(String whole) {
        return new RecipeException(where, whole + ": " + what);
    }
}
