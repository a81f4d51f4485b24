// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.CompressionOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/// Grids, rounding, packing.
final class QuantKernels {
    /// Groups of a block, one a lane (`SEARCHED` in quant.cu).
    private static final int SEARCHED = 32;

    /// Factors that a block tries at a time (`MOST_WARPS` in quant.cu).
    private static final int MOST_WARPS = 16;

    /// Weights of a group that a block looks at together (`ROWS` in quant.cu).
    private static final int MOST_ROWS = 256;

    private static final int RANGE_THREADS = 256;

    private final Kernels kernels;
    private final Kernels floats;
    private final Kernels blocks;

    QuantKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "quant");
        floats = new Kernels(gpu, "floats");
        blocks = new Kernels(gpu, "blocks");
    }

    void chooseGrid(CompressionOp.ChooseGrid op) {
        Encoding.Grid<Codes.Ints> spec = op.spec();
        Tensor w = op.w();
        int cols = Math.toIntExact(w.cols());
        int groups = Math.toIntExact(op.scales().cols());
        int middle = spec.codes().symmetric() ? spec.codes().middleCode() : -1;
        int count = op.to() - op.from();
        if (op.search() == null) {
            long total = w.rows() * count;
            kernels.launch(
                    "choose_range",
                    Grid.blocks(Math.ceilDiv(total, RANGE_THREADS / 32L), RANGE_THREADS),
                    op.scales(),
                    Types.of(op.scales()),
                    op.zeros(),
                    w,
                    Types.of(w),
                    cols,
                    groups,
                    length(spec, cols),
                    spec.codes().maxCode(),
                    middle,
                    op.minZero(),
                    op.from(),
                    count,
                    total);
            return;
        }
        if (op.together()) {
            searchOutputs(op, cols, groups, middle, count);
        } else {
            search(op, cols, groups, middle, count);
        }
    }

    private void search(CompressionOp.ChooseGrid op, int cols, int groups, int middle, int count) {
        Encoding.Grid<Codes.Ints> spec = op.spec();
        long total = op.w().rows() * count;
        int trials = op.search().trials(spec.codes());
        int warps = Math.ceilDiv(trials, Math.ceilDiv(trials, MOST_WARPS));
        kernels.launch(
                (op.search().norm() == 2 ? "search_squares_" : "search_powers_")
                        + op.scales().dtype().name().toLowerCase(Locale.ROOT),
                Grid.blocks(Math.ceilDiv(total, (long) SEARCHED), 32 * warps),
                op.scales(),
                op.zeros(),
                op.w(),
                Types.of(op.w()),
                op.importance(),
                cols,
                groups,
                length(spec, cols),
                spec.codes().maxCode(),
                middle,
                op.minZero(),
                op.from(),
                count,
                total,
                trials,
                op.search().steps(),
                op.search().grid(),
                op.search().norm());
    }

    private void searchOutputs(
            CompressionOp.ChooseGrid op, int cols, int groups, int middle, int count) {
        int length = length(op.spec(), cols);
        kernels.launch(
                "search_outputs_" + op.scales().dtype().name().toLowerCase(Locale.ROOT),
                Grid.blocks(
                        op.w().rows() * count, Math.min(MOST_ROWS, 32 * Math.ceilDiv(length, 32))),
                op.scales(),
                op.zeros(),
                op.w(),
                Types.of(op.w()),
                op.importance(),
                cols,
                groups,
                length,
                op.spec().codes().maxCode(),
                middle,
                op.minZero(),
                op.from(),
                count,
                op.search().trials(op.spec().codes()),
                op.search().steps(),
                op.search().grid());
    }

    /// A group is never longer than its row.
    private static int length(Encoding.Grid<Codes.Ints> spec, long cols) {
        return Math.toIntExact(Math.min(cols, spec.tiles().width(cols)));
    }

    void roundToGrid(CompressionOp.RoundToGrid op) {
        long cols = op.w().cols();
        kernels.launch(
                "round_to_grid",
                Grid.blocks(op.w().rows(), Grid.rowThreads(cols)),
                op.codes(),
                op.squares(),
                op.w(),
                Types.of(op.w()),
                op.scales(),
                Types.of(op.scales()),
                op.zeros(),
                Math.toIntExact(cols),
                Math.toIntExact(op.scales().cols()),
                length(op.spec(), cols),
                op.spec().codes().maxCode());
    }

    void roundActivations(Tensor out, Tensor x, InputRounding rounding) {
        ActivationScheme scheme = rounding.scheme();
        Tensor scale = rounding.scale();
        int cols = Math.toIntExact(x.cols());
        int width = Math.toIntExact(Math.min(cols, scheme.tiles().width(cols)));
        int across = Math.ceilDiv(cols, width);
        boolean symmetric = !(scheme.codes() instanceof Codes.Ints i) || i.symmetric();
        floats.launch(
                "round_activations",
                Grid.blocks(x.rows() * across, Grid.rowThreads(width)),
                out,
                x,
                scale,
                Types.of(scale),
                rounding.zero(),
                scheme.codes() instanceof Codes.Floats ? 1 : 0,
                scheme.codes().bits(),
                symmetric ? 1 : 0,
                Types.of(scheme.grid().scales()),
                scheme.dynamic() ? 1 : 0,
                cols,
                width,
                across);
    }

    void packCodes(Tensor out, Tensor codes, int bits) {
        long units = codes.rows() * Math.ceilDiv(codes.cols(), 32L);
        kernels.launch(
                "pack_" + bits,
                Grid.elements(units),
                out,
                codes,
                codes.rows(),
                Math.toIntExact(codes.cols()),
                Math.toIntExact(out.cols()));
    }

    void dequantize(Tensor out, Weight w) {
        switch (w) {
            case Weight.Dense(var values) -> {
                long n = out.shape().size();
                kernels.launch(
                        "dequantize_dense",
                        Grid.elements(Math.ceilDiv(n, 4L)),
                        out,
                        values,
                        Types.of(values),
                        n);
            }
            case Weight.Scaled s -> {
                List<Object> arguments = new ArrayList<>(ProductKernels.floats(s));
                arguments.addFirst(out);
                arguments.add(Types.of(s.valueType()));
                arguments.add(Math.toIntExact(out.cols()));
                floats.launch(
                        "dequantize_floats",
                        Grid.blocks(out.rows(), Grid.rowThreads(out.cols())),
                        arguments.toArray());
            }
            case Weight.Blocks b ->
                    blocks.launch(
                            "dequantize_" + b.type().name().toLowerCase(Locale.ROOT),
                            Grid.blocks(out.rows(), Grid.rowThreads(out.cols())),
                            out,
                            b.blocks(),
                            Math.toIntExact(out.rows()),
                            Math.toIntExact(out.cols()));
            case Weight.Grouped g ->
                    kernels.launch(
                            "dequantize_" + g.grid().codes().bits(),
                            Grid.blocks(out.rows(), Grid.rowThreads(out.cols())),
                            out,
                            g.codes(),
                            g.scales(),
                            Types.of(g.scales()),
                            g.zeros(),
                            g.groupIndex(),
                            Math.toIntExact(out.cols()),
                            Math.toIntExact(g.scales().cols()),
                            length(g.grid(), out.cols()),
                            Math.toIntExact(g.codes().cols()));
        }
    }
}
