// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

/// A recipe, or the flags that stand for one, says something that llmc does not understand. Exit
/// code 2.
public final class RecipeException extends RuntimeException {
    /// @param where file and line, or the flag
    public RecipeException(String where, String message) {
        super(where + ": " + message);
    }
}
