// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

/// Hears of texts while they are made.
public interface GenerationListener {
    GenerationListener NONE = new GenerationListener() {};

    /// A token has come.
    default void token(int prompt, int id) {}

    /// A text has grown.
    ///
    /// @param prompt its index
    /// @param piece whole characters, none of which is taken back
    default void text(int prompt, String piece) {}

    /// A text is complete.
    default void finished(int prompt, Generation generation) {}
}
