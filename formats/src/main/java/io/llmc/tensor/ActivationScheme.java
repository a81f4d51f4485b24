// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// How the inputs of a layer, or cached keys and values, are rounded before they are used.
///
/// @param grid its tiles are of `[tokens, in]`: [Tiles#ROW] is a scale for each token
/// @param dynamic scales, and zero points where codes have them, are made of the values at hand;
///   otherwise they are parameters of the layer. What nested scales are divided by always is one.
public record ActivationScheme(Encoding.Grid<?> grid, boolean dynamic) {
    /// With a scale for each tile that is a plain float.
    public ActivationScheme(Codes codes, Tiles tiles, boolean dynamic) {
        this(new Encoding.Grid<>(codes, tiles), dynamic);
    }

    public Codes codes() {
        return grid.codes();
    }

    public Tiles tiles() {
        return grid.tiles();
    }

    /// Whether a layer keeps a number for it, which calibration finds.
    public boolean calibrated() {
        return !dynamic || grid.scales() == ScaleKind.NESTED;
    }

    /// For people: `F8_E4M3 by token`.
    public String describe() {
        String numbers =
                switch (codes()) {
                    case Codes.Ints(int bits, boolean symmetric) ->
                            bits + " bits" + (symmetric ? "" : ", asymmetric,");
                    case Codes.Floats(DType type) -> type.toString();
                };
        String scale =
                tiles().equals(Tiles.ROW)
                        ? "token"
                        : tiles().equals(Tiles.TENSOR) ? "tensor" : tiles().describe();
        return numbers + " by " + scale + (dynamic ? "" : ", static");
    }
}
