// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.Optional;

/// Schemes that have a name of their own, as llm-compressor's presets do.
public enum NamedScheme {
    /// Groups of 128 weights in 4 bits.
    W4A16(Scheme.of(Encoding.ints(4, 128, true))),
    /// The same with a zero point for each group.
    W4A16_ASYM(Scheme.of(Encoding.ints(4, 128, false))),
    /// A scale for each output channel.
    W8A16(Scheme.of(Encoding.ints(8, Tiles.ALL, true))),
    /// Weights and inputs in F8_E4M3: a scale for each output channel, and one for each token that
    /// is made when it comes.
    FP8_DYNAMIC(
            new Scheme(
                    new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.ROW),
                    Optional.of(new ActivationScheme(Codes.Floats.E4M3, Tiles.ROW, true))));

    private final Scheme scheme;

    NamedScheme(Scheme scheme) {
        this.scheme = scheme;
    }

    Scheme scheme() {
        return scheme;
    }
}
