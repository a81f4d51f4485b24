// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;
import static io.llmc.backend.Shapes.some;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import java.util.stream.Stream;

/// Weights to grids of small floats: a largest magnitude for each tile, a scale from that, codes.
public sealed interface SmallFloatOp extends Op {
    /// The largest magnitude of each tile; NaN where it has one.
    ///
    /// @param out F32 `[tiles down, tiles across]`
    /// @param w F32, F16 or BF16 `[out, in]`
    record TileMaxima(Tensor out, Tensor w, Tiles tiles) implements SmallFloatOp {
        public TileMaxima {
            require(
                    f32(out)
                            && w.dtype().isFloat()
                            && out.is(tiles.down(w.rows()), tiles.across(w.cols())),
                    "tileMaxima",
                    out,
                    w,
                    tiles);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, w);
        }
    }

    /// The scale of each tile by [Encoding.Grid#scale]. With a search each of its factors shrinks
    /// the largest magnitude, and the tile keeps the scale with the least `sum_i c_i |w_i -
    /// q_i|^norm`, the larger factor on a tie; q has the type of a weight's values.
    ///
    /// @param scales as [io.llmc.tensor.Weight.Scaled] has them
    /// @param maxima F32, as [TileMaxima] gives them
    /// @param global F32 `[1]` where scales are nested, else null
    /// @param type what quotients are rounded to that become nested scales: that of the weights
    /// @param w F32, F16 or BF16 `[out, in]`; null where there is no search
    /// @param importance c, F32 `[in]`; null for all ones
    /// @param search null for none; otherwise a tile is a part of a row
    record ChooseScales(
            Tensor scales,
            Tensor maxima,
            Tensor global,
            DType type,
            Encoding.Grid<Codes.Floats> grid,
            Tensor w,
            Tensor importance,
            CompressionOp.GridSearch search)
            implements SmallFloatOp {
        public ChooseScales {
            require(
                    f32(maxima)
                            && maxima.shape().equals(scales.shape())
                            && type.isFloat()
                            && scaled(scales, global, grid)
                            && (importance == null || f32(importance))
                            && (search == null || fits(maxima, w, importance, grid.tiles())),
                    "chooseScales",
                    scales,
                    maxima,
                    global,
                    grid,
                    w,
                    importance);
        }

        private static boolean fits(Tensor maxima, Tensor w, Tensor importance, Tiles tiles) {
            return tiles.rows() == 1
                    && w.dtype().isFloat()
                    && maxima.is(w.rows(), tiles.across(w.cols()))
                    && (importance == null || importance.isVector(w.cols()));
        }

        @Override
        public Stream<Tensor> operands() {
            return some(scales, maxima, global, w, importance);
        }
    }

    /// `codes[o,i] = code(w[o,i] / scale)`, the nearest, half to even. The quotient is first
    /// rounded to the type of w, unless scales are nested: where weights lie on a grid of their
    /// own, ties decide which codes they get.
    ///
    /// @param codes F8_E4M3 or U8 `[out, in]`, one a byte
    /// @param squares F64 `[out, 2]`: the row's squared error, then its squared norm, in F64; null
    ///   for none
    /// @param w F32, F16 or BF16 `[out, in]`
    record RoundToFloats(
            Tensor codes,
            Tensor squares,
            Tensor w,
            Tensor scales,
            Tensor global,
            Encoding.Grid<Codes.Floats> grid)
            implements SmallFloatOp {
        public RoundToFloats {
            require(
                    (codes.dtype() == DType.U8 || codes.dtype() == DType.F8_E4M3)
                            && codes.is(w.rows(), w.cols())
                            && w.dtype().isFloat()
                            && scaled(scales, global, grid)
                            && scales.is(grid.tiles().down(w.rows()), grid.tiles().across(w.cols()))
                            && (squares == null
                                    || squares.dtype() == DType.F64 && squares.is(w.rows(), 2)),
                    "roundToFloats",
                    codes,
                    squares,
                    w,
                    scales,
                    global,
                    grid);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(codes, squares, w, scales, global);
        }
    }

    /// Whether scales are of the type that the grid's have.
    static boolean scaled(Tensor scales, Tensor global, Encoding.Grid<?> grid) {
        return switch (grid.scales()) {
            case FLOAT -> scales.dtype().isFloat() && global == null;
            case POWER -> scales.dtype() == DType.U8 && global == null;
            case NESTED ->
                    scales.dtype() == DType.F8_E4M3
                            && global != null
                            && f32(global)
                            && global.isVector(1);
        };
    }

    /// The float type that values of the grid are rounded to: see
    /// [io.llmc.tensor.Weight.Scaled#valueType].
    static DType valueType(Tensor scales, Encoding.Grid<?> grid) {
        return grid.scales() == ScaleKind.FLOAT ? scales.dtype() : DType.BF16;
    }
}
