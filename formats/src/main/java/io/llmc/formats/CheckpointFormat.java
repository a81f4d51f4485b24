// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.nio.file.Path;

/// A kind of file that holds a whole model: its config, its tensors, perhaps its tokenizer. How a
/// weight is spelled inside of it is a [WeightLayout].
public interface CheckpointFormat {
    /// `safetensors`, `gguf`
    String name();

    /// Whether a path looks like a model in this format; opening it may still say why it is none.
    boolean matches(Path path);

    /// Reads headers only, and checks them.
    ///
    /// @param family that it is read as, see [HfConfig#treatedAs(String)]; null for its own
    /// @throws UserException where there is no such model, or one that llmc does not read
    /// @throws FormatException where a file is broken
    Container open(Path path, String family);
}
