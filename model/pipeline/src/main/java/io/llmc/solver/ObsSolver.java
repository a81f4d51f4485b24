// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.CompressionOp.AccumulateObsBlock;
import io.llmc.backend.CompressionOp.MaskRule;
import io.llmc.backend.Desk;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;

/// The optimal brain surgeon for single weights (Hassibi and Stork, 1993), column by column: each
/// weight is rounded, or zeroed, or left, and its error is spread over the columns behind it as the
/// inverse Hessian says. With a grid it is GPTQ, with a mask SparseGPT, with both the two at once.
///
/// Errors are spread within a block of columns one by one and then over all that follow together,
/// which is the same sum with less memory traffic (GPTQ, arXiv 2210.17323, section 3.3).
///
/// @param blockSize columns of a block
/// @param rounding null where weights keep their values
/// @param mask null where no weight is zeroed
public record ObsSolver(Factor factor, int blockSize, Rounding rounding, Mask mask) {
    /// The grid that weights are rounded to, and their codes.
    ///
    /// @param ranges chooses what of the grid depends on weights that have taken up errors
    public record Rounding(AccumulateObsBlock.Grid grid, Ranges ranges) {}

    /// Hears of every block before its first column is rounded.
    @FunctionalInterface
    public interface Ranges {
        void before(int from, int to);
    }

    /// Which weights become zero.
    ///
    /// @param zeroed U8 `[out, in]`, 1 for a weight that does
    /// @param costs F32 `[in]`, as [Factor#costs]
    /// @param pattern by which a block's are chosen; null where they are all known
    public record Mask(Tensor zeroed, Tensor costs, Pattern pattern) {
        /// Of no weights so far.
        public static Mask of(Desk d, Factor factor, long out, Pattern pattern) {
            Tensor zeroed = d.allocate(DType.U8, out, factor.diagonal().length);
            return new Mask(zeroed, factor.costs(d), pattern);
        }

        private void choose(Desk d, Tensor w, int from, int to) {
            if (pattern instanceof Pattern.Unstructured p) {
                MaskRule rule = new MaskRule.Together(p.zeros(w.rows() * (to - from)));
                d.run(new CompressionOp.ChooseMask(zeroed, w, costs, rule, from, to));
            }
        }

        /// Of `n:m` the kernel chooses itself, when it reaches a group.
        private AccumulateObsBlock.Pruning pruning() {
            var rule = pattern instanceof Pattern.NOfM p ? p.rule() : null;
            return new AccumulateObsBlock.Pruning(zeroed, rule);
        }

        /// Share of the weights that are zeroed.
        public double share(Desk d) {
            return Pattern.share(d.backend(), zeroed);
        }
    }

    /// Bytes that [#solve] works in.
    public static long scratchBytes(long out, long in, int blockSize) {
        return 4 * out * blockSize + 8 * out * Math.ceilDiv(in, blockSize) + 1024;
    }

    /// @param w F32 `[out, in]` in the order of the factor; becomes what the weights are, those
    ///   that are rounded in their codes
    /// @return what that costs under the damped Hessian, `sum_o d[o,:] (h + damp I) d[o,:]^T` of
    ///   the differences d: no more than the errors' squares, since they are `d u^-1`
    public double solve(Desk d, Tensor w) {
        int in = (int) w.cols();
        Tensor squares = d.allocate(DType.F64, Math.ceilDiv(in, blockSize), w.rows());
        for (int from = 0; from < in; from += blockSize) {
            int to = Math.min(in, from + blockSize);
            if (rounding != null) {
                rounding.ranges.before(from, to);
            }
            if (mask != null) {
                mask.choose(d, w, from, to);
            }
            try (Desk block = d.scratch()) {
                Tensor errors = block.f32(w.rows(), to - from);
                d.run(
                        new AccumulateObsBlock(
                                errors,
                                w,
                                factor.u(),
                                rounding == null ? null : rounding.grid,
                                mask == null ? null : mask.pruning(),
                                from,
                                to));
                Tensor own = squares.rows(from / blockSize, from / blockSize + 1);
                d.run(new StatisticOp.RowSquares(own.reshape(w.rows()), errors));
                if (to < in) {
                    d.run(new CompressionOp.AccumulateObsSpread(w, errors, factor.u(), from, to));
                }
            }
        }
        return d.backend().sum(squares);
    }
}
