// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.SmallFloatOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.DType;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;

/// Weights on grids of small floats.
final class FloatGridKernels {
    private static final int THREADS = 128;

    private final Kernels floats;

    FloatGridKernels(Gpu gpu) {
        floats = new Kernels(gpu, "floats");
    }

    void tileMaxima(Tensor out, Tensor w, Tiles tiles) {
        long height = Math.min(w.rows(), tiles.height(w.rows()));
        int width = width(tiles, w.cols());
        floats.launch(
                "tile_maxima",
                Grid.blocks(out.shape().size(), Grid.rowThreads(height * width)),
                out,
                w,
                Types.of(w),
                w.rows(),
                Math.toIntExact(w.cols()),
                height,
                width,
                Math.toIntExact(out.cols()));
    }

    /// A tile is never wider than its row.
    private static int width(Tiles tiles, long cols) {
        return Math.toIntExact(Math.min(cols, tiles.width(cols)));
    }

    void chooseScales(SmallFloatOp.ChooseScales op) {
        boolean plain = op.grid().scales() == ScaleKind.FLOAT;
        CompressionOp.GridSearch search = op.search();
        long cols = search == null ? 0 : op.w().cols();
        floats.launch(
                "choose_scales",
                Grid.blocks(Math.ceilDiv(op.maxima().shape().size(), (long) THREADS), THREADS),
                op.scales(),
                Types.ofScales(op.scales()),
                op.maxima(),
                op.global(),
                op.grid().codes().bits(),
                Types.of(plain ? op.scales().dtype() : op.type()),
                Types.of(SmallFloatOp.valueType(op.scales(), op.grid())),
                op.maxima().shape().size(),
                search == null ? null : op.w(),
                search == null ? 0 : Types.of(op.w()),
                op.importance(),
                Math.toIntExact(cols),
                search == null ? 0 : width(op.grid().tiles(), cols),
                Math.toIntExact(op.maxima().cols()),
                search == null ? 0 : search.steps(),
                search == null ? 1 : search.grid(),
                search == null ? 2f : search.norm());
    }

    void round(SmallFloatOp.RoundToFloats op) {
        Tensor w = op.w();
        boolean nested = op.grid().scales() == ScaleKind.NESTED;
        floats.launch(
                "round_to_floats",
                Grid.blocks(w.rows(), Grid.rowThreads(w.cols())),
                op.codes(),
                op.squares(),
                w,
                Types.of(w),
                op.scales(),
                Types.ofScales(op.scales()),
                op.global(),
                op.grid().codes().bits(),
                Types.of(nested ? DType.F32 : w.dtype()),
                Types.of(SmallFloatOp.valueType(op.scales(), op.grid())),
                Math.toIntExact(w.cols()),
                op.grid().tiles().height(w.rows()),
                width(op.grid().tiles(), w.cols()),
                Math.toIntExact(op.scales().cols()));
    }

    /// Codes of four bits, two to a byte.
    void packPairs(Tensor out, Tensor codes) {
        long bytes = out.shape().size();
        floats.launch("pack_pairs", Grid.elements(bytes), out, codes, bytes);
    }
}
