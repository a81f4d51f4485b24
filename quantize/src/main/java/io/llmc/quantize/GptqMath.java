// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.solver.Factor;
import io.llmc.solver.Host;
import io.llmc.solver.Pattern;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Shape;
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
    record Settings(
            Encoding.Grid<Codes.Ints> spec,
            ActOrder order,
            int blockSize,
            CompressionOp.GridSearch search,
            boolean weigh,
            Pattern pattern,
            boolean keepZeros) {
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
    record Result(Weight.Grouped weight, double error, double rtnError, double sparsity) {}

    /// Bytes of scratch for [#quantize].
    static long scratchBytes(long out, long in, int blockSize) {
        return 4 * out * in * 5
                + 4 * out * in
                + 4 * out * blockSize
                + 40 * in
                + 32 * out
                + (1 << 16);
    }

    /// @param arena receives the packed weight
    /// @param scratch at least [#scratchBytes]
    static Result quantize(
            Backend backend,
            TensorArena arena,
            TensorArena scratch,
            Weight w,
            Tensor h,
            Factor factor,
            Settings s,
            DType scaleDtype,
            int minZero) {
        long out = w.outFeatures();
        int in = (int) w.inFeatures();
        Encoding.Grid<Codes.Ints> spec = s.spec();
        Tensor dense = scratch.allocate(DType.F32, new Shape(out, in));
        backend.run(new CompressionOp.Dequantize(dense, w));
        int[] groupOf = groupOf(s, factor.order(), in);
        Grid grid = Grid.allocate(arena, spec, out, in, scaleDtype);
        Tensor groupIndex =
                s.order() == ActOrder.GROUP
                        ? Host.ints(backend, arena, inverse(groupOf, factor.order()))
                        : null;
        Weight.Grouped packed = grid.weight(arena, in, groupIndex);
        double norm;
        double rtn;
        try (TensorArena inner = scratch.scratch()) {
            norm = squared(backend, inner, dense, h);
        }
        if (s.order() == ActOrder.STATIC) {
            choose(backend, scratch, grid, dense, factor, s, minZero);
        }
        try (TensorArena inner = scratch.scratch()) {
            rtn = rtnError(backend, inner, dense, h, factor, s, grid, minZero);
        }
        Tensor codes = scratch.allocate(DType.U8, new Shape(out, in));
        double sparsity;
        try (TensorArena inner = scratch.scratch()) {
            sparsity = solve(backend, inner, codes, dense, grid, groupOf, factor, s, minZero);
        }
        backend.run(new CompressionOp.PackCodes(packed.codes(), codes, spec.codes().bits()));
        double error;
        try (TensorArena inner = scratch.scratch()) {
            error = distance(backend, inner, packed, dense, h);
        }
        return new Result(
                packed, RelativeError.of(error, norm), RelativeError.of(rtn, norm), sparsity);
    }

    /// Chooses all of a grid from the weights as they were.
    private static void choose(
            Backend backend,
            TensorArena scratch,
            Grid grid,
            Tensor dense,
            Factor factor,
            Settings s,
            int minZero) {
        try (TensorArena inner = scratch.scratch()) {
            Tensor importance = s.weigh() ? upload(backend, inner, factor, false) : null;
            choose(
                    backend,
                    grid,
                    dense,
                    importance,
                    s,
                    minZero,
                    0,
                    (int) s.spec().tiles().across(dense.cols()));
        }
    }

    /// Rounds `dense` column by column into `codes`, both in the order of the inputs; writes the
    /// grid where it depends on what has been rounded.
    ///
    /// @return share of weights that are zero by a mask
    private static double solve(
            Backend backend,
            TensorArena scratch,
            Tensor codes,
            Tensor dense,
            Grid grid,
            int[] groupOf,
            Factor factor,
            Settings s,
            int minZero) {
        int in = (int) dense.cols();
        boolean permuted = s.order() != ActOrder.NONE;
        Tensor work = scratch.allocate(DType.F32, dense.shape());
        Tensor importance =
                s.weigh() && s.order() != ActOrder.STATIC
                        ? upload(backend, scratch, factor, s.order() == ActOrder.GROUP)
                        : null;
        if (permuted) {
            Tensor order = Host.ints(backend, scratch, factor.order());
            backend.run(new StatisticOp.GatherColumns(work, dense, order));
        } else {
            backend.run(new ForwardOp.Scale(work, dense, 1));
        }
        Tensor groups = Host.ints(backend, scratch, groupOf);
        Tensor rounded = permuted ? scratch.allocate(DType.U8, codes.shape()) : codes;
        Tensor mask = s.masks() ? scratch.allocate(DType.U8, codes.shape()) : null;
        CompressionOp.AccumulateObsBlock.Pruning pruning = null;
        Tensor costs = null;
        if (mask != null) {
            var chosen = s.pattern() instanceof Pattern.NOfM p ? p.rule() : null;
            pruning = new CompressionOp.AccumulateObsBlock.Pruning(mask, chosen);
            costs = factor.costs(backend, scratch);
            // The order of the columns makes no difference to which weights are zero now.
            backend.run(
                    new CompressionOp.ChooseMask(
                            mask, work, null, new CompressionOp.MaskRule.Zeros(), 0, in));
        }
        for (int from = 0; from < in; from += s.blockSize()) {
            int to = Math.min(in, from + s.blockSize());
            if (s.order() != ActOrder.STATIC) {
                // Groups that begin in this block see what earlier blocks spread, and nothing of
                // this
                // block's own: as the reference implementation has it.
                int length = (int) s.spec().tiles().width(in);
                choose(
                        backend,
                        grid,
                        work,
                        importance,
                        s,
                        minZero,
                        Math.ceilDiv(from, length),
                        Math.ceilDiv(to, length));
            }
            if (s.pattern() instanceof Pattern.Unstructured p) {
                long zeros = p.zeros(dense.rows() * (to - from));
                backend.run(
                        new CompressionOp.ChooseMask(
                                mask,
                                work,
                                costs,
                                new CompressionOp.MaskRule.Together(zeros),
                                from,
                                to));
            }
            try (TensorArena block = scratch.scratch()) {
                Tensor errors = block.allocate(DType.F32, new Shape(dense.rows(), to - from));
                backend.run(
                        new CompressionOp.AccumulateObsBlock(
                                errors,
                                work,
                                factor.u(),
                                new CompressionOp.AccumulateObsBlock.Grid(
                                        rounded, grid.scales(), grid.zeros(), groups, s.spec()),
                                pruning,
                                from,
                                to));
                if (to < in) {
                    backend.run(
                            new CompressionOp.AccumulateObsSpread(
                                    work, errors, factor.u(), from, to));
                }
            }
        }
        if (permuted) {
            backend.run(
                    new StatisticOp.GatherColumns(
                            codes,
                            rounded,
                            Host.ints(backend, scratch, inverse(identity(in), factor.order()))));
        }
        return mask == null ? 0 : Host.share(backend, mask);
    }

    private static void choose(
            Backend backend,
            Grid grid,
            Tensor w,
            Tensor importance,
            Settings s,
            int minZero,
            int from,
            int to) {
        if (from < to) {
            backend.run(
                    new CompressionOp.ChooseGrid(
                            grid.scales(),
                            grid.zeros(),
                            w,
                            importance,
                            s.spec(),
                            minZero,
                            s.search(),
                            from,
                            to));
        }
    }

    /// The diagonal as the weight of each column's error.
    private static Tensor upload(
            Backend backend, TensorArena arena, Factor factor, boolean permuted) {
        int n = factor.diagonal().length;
        float[] values = new float[n];
        for (int j = 0; j < n; j++) {
            values[j] = factor.diagonal()[permuted ? factor.order()[j] : j];
        }
        Tensor t = arena.allocate(DType.F32, new Shape(n));
        try (var host = java.lang.foreign.Arena.ofConfined()) {
            backend.upload(t, host.allocateFrom(java.lang.foreign.ValueLayout.JAVA_FLOAT, values));
        }
        return t;
    }

    /// The group of each column of the solver.
    private static int[] groupOf(Settings s, int[] order, int in) {
        int[] groups = new int[in];
        long length = s.spec().tiles().width(in);
        for (int j = 0; j < in; j++) {
            groups[j] = (int) ((s.order() == ActOrder.STATIC ? order[j] : j) / length);
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
    private static double rtnError(
            Backend backend,
            TensorArena scratch,
            Tensor dense,
            Tensor h,
            Factor factor,
            Settings s,
            Grid grid,
            int minZero) {
        long in = dense.cols();
        Grid nearest = grid;
        if (s.order() != ActOrder.STATIC) {
            nearest = Grid.allocate(scratch, s.spec(), dense.rows(), in, grid.scales().dtype());
            choose(backend, scratch, nearest, dense, factor, s, minZero);
        }
        Weight.Grouped packed = nearest.weight(scratch, in, null);
        try (TensorArena inner = scratch.scratch()) {
            Tensor codes = inner.allocate(DType.U8, dense.shape());
            backend.run(
                    new CompressionOp.RoundToGrid(
                            codes, null, dense, nearest.scales(), nearest.zeros(), s.spec()));
            backend.run(
                    new CompressionOp.PackCodes(packed.codes(), codes, s.spec().codes().bits()));
        }
        return distance(backend, scratch, packed, dense, h);
    }

    /// `sum_o (q - w)[o,:] h (q - w)[o,:]^T`
    private static double distance(
            Backend backend, TensorArena scratch, Weight q, Tensor dense, Tensor h) {
        Tensor values = scratch.allocate(DType.F32, dense.shape());
        Tensor difference = scratch.allocate(DType.F32, dense.shape());
        backend.run(new CompressionOp.Dequantize(values, q));
        backend.run(new ForwardOp.Add(difference, values, dense, -1));
        return squared(backend, scratch, difference, h);
    }

    private static double squared(Backend backend, TensorArena scratch, Tensor e, Tensor h) {
        Tensor rows = scratch.allocate(DType.F64, new Shape(e.rows()));
        backend.run(new StatisticOp.QuadraticForm(rows, e, h));
        return Host.sum(Host.doubles(backend, rows));
    }
}
