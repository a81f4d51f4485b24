// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.formats.GridSpec;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;

/// One weight on its way to a grid: its scales, and what finds codes on them. How integers and
/// small floats differ is known here, and not by methods.
sealed interface WeightGrid permits IntGrid, FloatGrid {
    /// A grid whose scales are not chosen yet.
    ///
    /// @param d receives what the weight will be made of
    /// @param w whose shape and type it has
    /// @param global what nested scales are divided by, F32 `[1]`; null for others
    static WeightGrid allocate(Desk d, GridSpec<?> target, Weight w, Tensor global) {
        long out = w.outFeatures();
        long in = w.inFeatures();
        Tiles tiles = target.grid().tiles();
        ScaleKind kind = target.grid().scales();
        return switch (target.grid().codes()) {
            case Codes.Ints ints ->
                    IntGrid.allocate(
                            d,
                            new GridSpec<>(
                                    new Encoding.Grid<>(ints, tiles, kind),
                                    target.scaleType(),
                                    target.minZero()),
                            out,
                            in);
            case Codes.Floats floats ->
                    FloatGrid.allocate(
                            d,
                            new Encoding.Grid<>(floats, tiles, kind),
                            target.scaleType(),
                            w,
                            global);
        };
    }

    Encoding.Grid<?> spec();

    /// Whether all scales must be chosen before the first code.
    boolean whole();

    /// Chooses the scales of the groups `[from, to)` of every row, all groups where [#whole].
    ///
    /// @param w dense `[out, in]`
    /// @param importance of each input's error in the search, F32 `[in]`, or of a group's errors
    ///   together, as [GroupGrams] has it; null for one each
    /// @param search of each tile's range; null for none
    void choose(
            Desk d, Tensor w, Tensor importance, CompressionOp.GridSearch search, int from, int to);

    /// Rounds to nearest.
    ///
    /// @param codes as [#codes] gives them
    /// @param squares F64 `[out, 2]`, error and norm of each row; null for none
    void round(Desk d, Tensor codes, Tensor squares, Tensor w);

    /// What GPTQ's column loop rounds to.
    ///
    /// @param groupOf of each of the loop's columns, I32 `[in]`
    CompressionOp.AccumulateObsBlock.Grid columns(Tensor codes, Tensor groupOf);

    /// The weight, whose codes are not written yet.
    ///
    /// @param groupIndex null where groups are contiguous
    Weight weight(Desk d, Tensor groupIndex);

    /// Codes to fill, U8 `[out, in]`: the weight's own where they are bytes, else some of `d`.
    Tensor codes(Desk d, Weight weight);

    /// Puts codes into the weight.
    void pack(Desk d, Weight weight, Tensor codes);

    /// Another one of the same kind, its scales not chosen.
    WeightGrid another(Desk d);
}
