// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.generation;

import java.util.List;

/// What a prompt was continued with.
///
/// @param ids generated tokens, an end token among them
/// @param text of them in whole characters, without special tokens, and up to a stop string
/// @param finish why it ends
/// @param scores of each token where they were asked for; else empty
public record Generation(int[] ids, String text, Finish finish, List<TokenScore> scores) {
    /// Why a text ends.
    public enum Finish {
        /// The model ended it, or a stop string came.
        STOP,
        /// As many tokens as were allowed, or as the model has positions.
        LENGTH
    }
}
