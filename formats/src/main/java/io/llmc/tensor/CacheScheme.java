// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// How cached keys and values are rounded. Scales are parameters of each attention layer.
///
/// @param byHead a scale for each head with keys and values; otherwise one for all of a layer's
///   keys, and one for its values
public record CacheScheme(Codes codes, boolean byHead) {
    /// For one layer.
    ///
    /// @param width channels of a head
    public ActivationScheme of(int width) {
        return new ActivationScheme(
                codes, byHead ? new Tiles(Tiles.ALL, width) : Tiles.TENSOR, false);
    }

    /// For people: `F8_E4M3, a scale for each head`.
    public String describe() {
        String numbers =
                switch (codes) {
                    case Codes.Ints(int bits, _) -> bits + " bits";
                    case Codes.Floats(DType type) -> type.toString();
                };
        return numbers + (byHead ? ", a scale for each head" : ", a scale for each layer");
    }
}
