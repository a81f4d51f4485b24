// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.util.List;
import java.util.Optional;

/// How one library spells quantized models: the tensors of its layers, and what its config says of
/// them. Families are found by the lines in `META-INF/services`, so that this package need not know
/// theirs.
public interface LayoutFamily {
    /// In the order in which a checkpoint's tensors are tried against them.
    List<WeightLayout> layouts();

    /// What a `quantization_config` of this library says.
    ///
    /// @param config without nulls
    /// @return empty where it is another library's
    /// @throws FormatException where a key has another type than expected, or a word is unknown
    /// @throws UserException where it is quantized in a way that llmc does not read
    Optional<Quantization> read(ConfigSection config);
}
