// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.solver.Factor;
import io.llmc.solver.ObsSolver;
import io.llmc.solver.Pattern;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.stream.IntStream;

/// GPTQ (Frantar et al., 2022, arXiv 2210.17323): columns are rounded in order, and each column's
/// error is spread over the columns not yet rounded, as the inverse Hessian says. Tensors in,
/// tensors out: no names, no files.
final class GptqMath {
    private GptqMath() {}

    /// @param blockSize columns whose errors are spread at once
    /// @param search of each group's range; null for none
    /// @param weigh errors in the search by the Hessian's diagonal
    /// @param pattern of weights that become zero in the same loop, as SparseGPT chooses them; null
    ///   for none
    /// @param keepZeros weights that are zero stay zero
    /// @param refit sweeps of [Descent] after the loop; not where weights are masked
    record Settings(
            ActOrder order,
            int blockSize,
            CompressionOp.GridSearch search,
            boolean weigh,
            Pattern pattern,
            boolean keepZeros,
            int refit) {
        boolean masks() {
            return pattern != null || keepZeros;
        }
    }

    private static int[] identity(int n) {
        return IntStream.range(0, n).toArray();
    }

    /// @param error squared output error over squared output, both under the Hessian
    /// @param rtnError the same for rounding to nearest on a grid chosen in the same way
    /// @param sparsity share of weights that were pruned or kept at zero
    record Result(Weight weight, double error, double rtnError, double sparsity) {}

    /// Bytes that [#quantize] works in, beside what it gives.
    static long scratchBytes(long out, long in, int blockSize) {
        return 4 * out * in * 5
                + 4 * out * in
                + ObsSolver.scratchBytes(out, in, blockSize)
                + 40 * in
                + 32 * out
                + (1 << 16);
    }

    /// @param d receives the packed weight
    /// @param grid whose scales are not chosen yet
    static Result quantize(Desk d, Weight w, WeightGrid grid, Tensor h, Factor factor, Settings s) {
        long out = w.outFeatures();
        int in = (int) w.inFeatures();
        int[] groupOf = groupOf(grid, s.order(), factor.order());
        Tensor groupIndex =
                s.order() == ActOrder.GROUP ? d.ints(inverse(groupOf, factor.order())) : null;
        Weight packed = grid.weight(d, groupIndex);
        try (Desk scratch = d.fresh(scratchBytes(out, in, s.blockSize()))) {
            Tensor dense = scratch.f32(out, in);
            d.run(new CompressionOp.Dequantize(dense, w));
            double norm;
            try (Desk inner = scratch.scratch()) {
                norm = RelativeError.squared(inner, dense, h);
            }
            Search search = new Search(s, factor);
            if (search.first(grid)) {
                search.whole(scratch, grid, dense);
            }
            double rtn;
            try (Desk inner = scratch.scratch()) {
                rtn = rtnError(inner, dense, h, search, grid);
            }
            Tensor codes = grid.codes(scratch, packed);
            Solved solved;
            try (Desk inner = scratch.scratch()) {
                solved = solve(inner, codes, dense, grid, groupOf, search);
            }
            grid.pack(d, packed, codes);
            boolean refits = s.refit() > 0 && !s.masks();
            if (refits && packed instanceof Weight.Grouped grouped) {
                Descent.run(scratch, grouped, codes, dense, h, s.refit());
            }
            double error;
            try (Desk inner = scratch.scratch()) {
                Tensor lost = difference(inner, packed, dense);
                error =
                        refits
                                ? RelativeError.squared(inner, lost, h)
                                : factor.undamped(solved.cost(), d.backend().squares(lost));
            }
            return new Result(
                    packed,
                    RelativeError.of(error, norm),
                    RelativeError.of(rtn, norm),
                    solved.sparsity());
        }
    }

    /// How groups get their scales and zero points.
    private record Search(Settings s, Factor factor) {
        /// Whether all of a grid is chosen from the weights as they were.
        boolean first(WeightGrid grid) {
            return s.order() == ActOrder.STATIC || grid.whole();
        }

        /// Chooses all of a grid from the weights as they were.
        void whole(Desk scratch, WeightGrid grid, Tensor dense) {
            try (Desk inner = scratch.scratch()) {
                Tensor importance = s.weigh() ? diagonal(inner, false) : null;
                int all = (int) grid.spec().tiles().across(dense.cols());
                grid.choose(inner, dense, importance, s.search(), 0, all);
            }
        }

        /// The Hessian's diagonal as the weight of each column's error.
        Tensor diagonal(Desk d, boolean permuted) {
            int n = factor.diagonal().length;
            float[] values = new float[n];
            for (int j = 0; j < n; j++) {
                values[j] = factor.diagonal()[permuted ? factor.order()[j] : j];
            }
            return d.floats(values);
        }
    }

    /// @param sparsity share of weights that are zero by a mask
    /// @param cost squared output error under the damped Hessian
    private record Solved(double sparsity, double cost) {}

    /// Rounds `dense` column by column into `codes`, both in the order of the inputs; writes the
    /// grid where it depends on what has been rounded.
    private static Solved solve(
            Desk d, Tensor codes, Tensor dense, WeightGrid grid, int[] groupOf, Search search) {
        Settings s = search.s();
        Factor factor = search.factor();
        int in = (int) dense.cols();
        boolean permuted = s.order() != ActOrder.NONE;
        Tensor work = d.f32(dense.rows(), in);
        Tensor importance =
                s.weigh() && !search.first(grid)
                        ? search.diagonal(d, s.order() == ActOrder.GROUP)
                        : null;
        if (permuted) {
            d.run(new StatisticOp.GatherColumns(work, dense, d.ints(factor.order())));
        } else {
            d.run(new ForwardOp.Scale(work, dense, 1));
        }
        Tensor rounded = permuted ? d.allocate(DType.U8, codes.rows(), in) : codes;
        var codesOn = grid.columns(rounded, d.ints(groupOf));
        int length = (int) grid.spec().tiles().width(in);
        // Groups that begin in a block see what earlier blocks spread, and nothing of the block's
        // own: as the reference implementation has it.
        ObsSolver.Ranges ranges =
                (from, to) ->
                        grid.choose(
                                d,
                                work,
                                importance,
                                s.search(),
                                Math.ceilDiv(from, length),
                                Math.ceilDiv(to, length));
        if (search.first(grid)) {
            ranges = (_, _) -> {};
        }
        ObsSolver.Mask mask = null;
        if (s.masks()) {
            mask = ObsSolver.Mask.of(d, factor, codes.rows(), s.pattern());
            // The order of the columns makes no difference to which weights are zero now.
            var zeros = new CompressionOp.MaskRule.Zeros();
            d.run(new CompressionOp.ChooseMask(mask.zeroed(), work, null, zeros, 0, in));
        }
        var rounding = new ObsSolver.Rounding(codesOn, ranges);
        double cost = new ObsSolver(factor, s.blockSize(), rounding, mask).solve(d, work);
        if (permuted) {
            d.run(
                    new StatisticOp.GatherColumns(
                            codes, rounded, d.ints(inverse(identity(in), factor.order()))));
        }
        return new Solved(mask == null ? 0 : mask.share(d), cost);
    }

    /// The group of each column of the solver.
    private static int[] groupOf(WeightGrid grid, ActOrder by, int[] order) {
        int[] groups = new int[order.length];
        long length = grid.spec().tiles().width(order.length);
        for (int j = 0; j < groups.length; j++) {
            groups[j] = (int) ((by == ActOrder.STATIC ? order[j] : j) / length);
        }
        return groups;
    }

    /// `result[order[j]] = values[j]`
    private static int[] inverse(int[] values, int[] order) {
        int[] result = new int[values.length];
        for (int j = 0; j < values.length; j++) {
            result[order[j]] = values[j];
        }
        return result;
    }

    /// @param grid GPTQ's own where it was chosen from the weights as they were; otherwise one like
    ///   it is chosen here
    private static double rtnError(Desk d, Tensor dense, Tensor h, Search search, WeightGrid grid) {
        WeightGrid nearest = grid;
        if (!search.first(grid)) {
            nearest = grid.another(d);
            search.whole(d, nearest, dense);
        }
        Weight packed = nearest.weight(d, null);
        try (Desk inner = d.scratch()) {
            Tensor codes = nearest.codes(inner, packed);
            nearest.round(d, codes, null, dense);
            nearest.pack(d, packed, codes);
        }
        return RelativeError.squared(d, difference(d, packed, dense), h);
    }

    /// `q - w`, F32 `[out, in]`
    private static Tensor difference(Desk d, Weight q, Tensor dense) {
        Tensor difference = d.f32(dense.rows(), dense.cols());
        d.run(new CompressionOp.Dequantize(difference, q));
        d.run(new ForwardOp.Add(difference, difference, dense, -1));
        return difference;
    }
}
