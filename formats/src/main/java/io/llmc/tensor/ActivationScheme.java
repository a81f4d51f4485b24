// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// How the inputs of a layer, or cached keys and values, are rounded before they are used.
///
/// @param tiles of `[tokens, in]` that share a scale: [Tiles#ROW] is one for each token
/// @param dynamic scales are made of the values at hand, `amax / codes.reach()`; otherwise they are
///   parameters of the layer
public record ActivationScheme(Codes codes, Tiles tiles, boolean dynamic) {
    /// For people: `F8_E4M3 by token`.
    public String describe() {
        String numbers =
                switch (codes) {
                    case Codes.Ints(int bits, _) -> bits + " bits";
                    case Codes.Floats(DType type) -> type.toString();
                };
        String scale =
                tiles.equals(Tiles.ROW)
                        ? "token"
                        : tiles.equals(Tiles.TENSOR) ? "tensor" : tiles.describe();
        return numbers + " by " + scale + (dynamic ? "" : ", static");
    }
}
