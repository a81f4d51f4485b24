// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;

/// Rounding to nearest as trials do it: one operation for weights and inputs on whatever grid.
/// Trials only compare, so what would move all of them alike is left out: scales of weights stay
/// F32, and each row of a tile has its own.
final class Rounding {
    private Rounding() {}

    /// @param w F32 `[out, in]`, gets the values on the grid
    static void round(Desk d, Tensor w, Encoding.Grid<?> grid) {
        ScaleKind scales = grid.scales() == ScaleKind.NESTED ? ScaleKind.FLOAT : grid.scales();
        Tiles tiles = new Tiles(1, grid.tiles().cols());
        var rows = new ActivationScheme(new Encoding.Grid<>(grid.codes(), tiles, scales), true);
        inputs(d, w, InputRounding.dynamic(rows));
    }

    /// How inputs will be rounded, of which the largest is `most`.
    ///
    /// @param d receives the numbers that a layer keeps for it
    static InputRounding ofInputs(Desk d, ActivationScheme scheme, float most) {
        if (!scheme.calibrated()) {
            return InputRounding.dynamic(scheme);
        }
        boolean nested = scheme.grid().scales() == ScaleKind.NESTED;
        float reach = scheme.codes().reach();
        float largest = Math.max(most, 1e-5f);
        Tensor scale = d.floats(nested ? 448 * reach / largest : largest / reach);
        return new InputRounding(scheme, scale, zero(d, scheme));
    }

    /// In the middle, where codes are not symmetric: null where they are.
    private static Tensor zero(Desk d, ActivationScheme scheme) {
        boolean shifted = scheme.codes() instanceof Codes.Ints i && !i.symmetric();
        return shifted && !scheme.dynamic() ? d.allocate(DType.I8, 1) : null;
    }

    /// @param x F32 `[tokens, in]`, gets the values on the grid
    static void inputs(Desk d, Tensor x, InputRounding rounding) {
        d.run(new ForwardOp.RoundActivations(x, x, rounding));
    }
}
