// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;
import static io.llmc.backend.Shapes.some;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.stream.Stream;

/// Masks, grids, codes, and the column loop that chooses them.
public sealed interface CompressionOp extends Op {
    /// `mask[o,i] = 1` for the weights of columns `[from, to)` whose `|w[o,i]| * importance[i]` is
    /// smallest, as the rule counts them, a tie to the lower index; 0 for the others.
    ///
    /// @param mask U8 `[out, in]`
    /// @param w F32, F16 or BF16 `[out, in]`
    /// @param importance F32 `[in]`; null for all ones
    record ChooseMask(Tensor mask, Tensor w, Tensor importance, MaskRule rule, int from, int to)
            implements CompressionOp {
        public ChooseMask {
            require(
                    mask.dtype() == DType.U8
                            && mask.is(w.rows(), w.cols())
                            && w.dtype().isFloat()
                            && (importance == null
                                    || (importance.isVector(w.cols()) && f32(importance)))
                            && 0 <= from
                            && from < to
                            && to <= w.cols()
                            && rule.fits(w.rows(), from, to),
                    "chooseMask",
                    mask,
                    w,
                    importance,
                    rule);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(mask, w, importance);
        }
    }

    /// Which weights compete, and how many of them are pruned.
    sealed interface MaskRule {
        boolean fits(long rows, int from, int to);

        /// @param zeros of each row
        record EachRow(int zeros) implements MaskRule {
            @Override
            public boolean fits(long rows, int from, int to) {
                return zeros >= 0 && zeros <= to - from;
            }
        }

        /// @param zeros of all rows together
        record Together(long zeros) implements MaskRule {
            @Override
            public boolean fits(long rows, int from, int to) {
                return zeros >= 0 && zeros <= rows * (to - from);
            }
        }

        /// Weights that are 0 already.
        record Zeros() implements MaskRule {
            @Override
            public boolean fits(long rows, int from, int to) {
                return true;
            }
        }

        /// In each row n of m neighbours stay.
        record NOfM(int n, int m) implements MaskRule {
            @Override
            public boolean fits(long rows, int from, int to) {
                return n >= 0 && n <= m && m > 0 && from % m == 0 && to % m == 0;
            }
        }
    }

    /// `out = w` where the mask is 0, else 0; of any one float type.
    record ApplyMask(Tensor out, Tensor w, Tensor mask) implements CompressionOp {
        public ApplyMask {
            require(
                    out.like(w)
                            && w.dtype().isFloat()
                            && mask.dtype() == DType.U8
                            && mask.shape().equals(w.shape()),
                    "applyMask",
                    out,
                    w,
                    mask);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, w, mask);
        }
    }

    /// Chooses scale and zero point of the groups `[from, to)` of every row. The range is widened
    /// to hold 0; symmetric: `scale = 2 amax / (2^b - 1)`, zero the middle code; asymmetric: `scale
    /// = (max - min) / (2^b - 1)`, `zero = round(-min / scale)` clamped to `[minZero, 2^b - 1]`. A
    /// group of zeros gets the range [-1, 1]. The scale is rounded to the dtype of `scales` and
    /// used as rounded.
    ///
    /// With a search each of its factors shrinks the range, and the group keeps the one with the
    /// least `sum_i c_i |w_i - q_i|^norm`, the larger factor on a tie; or, where importance has a
    /// row for each input, the least `sum_ij (w_i - q_i) h_ij (w_j - q_j)`: what the group's
    /// rounding costs the layer's outputs.
    ///
    /// @param scales F32, F16 or BF16 `[out, groups]`
    /// @param zeros U8 `[out, groups]`
    /// @param w F32, F16 or BF16 `[out, in]`
    /// @param importance c, F32 `[in]`; or h, F32 `[in, width]`, of each group the Gram matrix of
    ///   its inputs, only where the search has norm 2; null for all ones
    /// @param search null for none
    record ChooseGrid(
            Tensor scales,
            Tensor zeros,
            Tensor w,
            Tensor importance,
            Encoding.Grid<Codes.Ints> spec,
            int minZero,
            GridSearch search,
            int from,
            int to)
            implements CompressionOp {
        public ChooseGrid {
            long groups = spec.tiles().across(w.cols());
            require(
                    scales.is(w.rows(), groups)
                            && zeros.is(w.rows(), groups)
                            && zeros.dtype() == DType.U8
                            && scales.dtype().isFloat()
                            && w.dtype().isFloat()
                            && (importance == null
                                    || (f32(importance)
                                            && (importance.isVector(w.cols())
                                                    || (search != null
                                                            && search.norm() == 2
                                                            && importance.is(
                                                                    w.cols(),
                                                                    Math.min(
                                                                            w.cols(),
                                                                            spec.tiles()
                                                                                    .width(
                                                                                            w
                                                                                                    .cols())))))))
                            && 0 <= from
                            && from <= to
                            && to <= groups,
                    "chooseGrid",
                    scales,
                    zeros,
                    w,
                    importance,
                    spec);
        }

        /// Whether errors of a group count together, by its Gram matrix.
        public boolean together() {
            return importance != null && !importance.isVector(w.cols());
        }

        @Override
        public Stream<Tensor> operands() {
            return some(scales, zeros, w, importance);
        }
    }

    /// A search of a group's range: factors `1 - k / grid` for k from 0 to `steps - 1`.
    ///
    /// @param norm exponent of each weight's error
    /// @param signs tries negative scales of symmetric integers, too
    record GridSearch(int steps, int grid, float norm, boolean signs) {
        /// 1.0 to 0.6 in steps of 0.05, squared errors, no negative scale.
        public static final GridSearch DEFAULT = new GridSearch(9, 20, 2, false);

        public GridSearch {
            if (steps < 1 || grid < steps || !(norm > 0)) {
                throw new IllegalArgumentException(
                        "a search of %d steps of 1/%d with norm %s".formatted(steps, grid, norm));
            }
        }

        /// How many scales a group of such codes tries.
        public int trials(Codes.Ints codes) {
            return signs && codes.symmetric() ? 2 * steps : steps;
        }

        /// Of the range, negative behind the positive ones.
        public float factor(int k) {
            double factor = 1 - k % steps / (double) grid;
            return (float) (k < steps ? factor : -factor);
        }
    }

    /// `out[o,i] = factors[i] * w[o,i]`: the weight for inputs whose channels were divided by as
    /// much.
    ///
    /// @param out F32 `[out, in]`
    /// @param w F32, F16 or BF16 `[out, in]`
    /// @param factors F32 `[in]`
    record ScaleColumns(Tensor out, Tensor w, Tensor factors) implements CompressionOp {
        public ScaleColumns {
            require(
                    out.is(w.rows(), w.cols())
                            && w.dtype().isFloat()
                            && factors.isVector(w.cols())
                            && f32(out, factors),
                    "scaleColumns",
                    out,
                    w,
                    factors);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, w, factors);
        }
    }

    /// `out[o,i]` = w[o,i], at least -limit and at most the limit of its group.
    ///
    /// @param out F32 `[out, in]`
    /// @param w F32, F16 or BF16 `[out, in]`
    /// @param limits F32 `[out, groups]`, none below 0; groups are neighbours, all of one size
    record Clamp(Tensor out, Tensor w, Tensor limits) implements CompressionOp {
        public Clamp {
            require(
                    out.is(w.rows(), w.cols())
                            && w.dtype().isFloat()
                            && limits.rows() == w.rows()
                            && w.cols() % limits.cols() == 0
                            && f32(out, limits),
                    "clamp",
                    out,
                    w,
                    limits);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, w, limits);
        }
    }

    /// `codes[o,i] = clamp(round(w[o,i] / scale) + zero, 0, 2^b - 1)`, half to even, with scale and
    /// zero of the group of input i.
    ///
    /// @param codes U8 `[out, in]`
    /// @param squares F64 `[out, 2]`: the row's squared error, then its squared norm, in F64; null
    ///   for none
    /// @param w F32, F16 or BF16 `[out, in]`
    record RoundToGrid(
            Tensor codes,
            Tensor squares,
            Tensor w,
            Tensor scales,
            Tensor zeros,
            Encoding.Grid<Codes.Ints> spec)
            implements CompressionOp {
        public RoundToGrid {
            require(
                    codes.dtype() == DType.U8
                            && codes.is(w.rows(), w.cols())
                            && scales.is(w.rows(), spec.tiles().across(w.cols()))
                            && scales.shape().equals(zeros.shape())
                            && zeros.dtype() == DType.U8
                            && w.dtype().isFloat()
                            && (squares == null
                                    || (squares.dtype() == DType.F64 && squares.is(w.rows(), 2))),
                    "roundToGrid",
                    codes,
                    squares,
                    w,
                    scales,
                    zeros);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(codes, squares, w, scales, zeros);
        }
    }

    /// The inner loop of GPTQ and SparseGPT over columns `[from, to)` of w, rows in parallel
    /// (Frantar et al., 2022, eq. 2 and 3; Frantar and Alistarh, 2023, algorithm 1).
    ///
    /// Each column j in order gets its value `v`: 0 where it is pruned; else, where there is a
    /// grid, the code as [RoundToGrid] and its value rounded to the dtype of the scales; else w
    /// itself. Then `err = (w_j - v) / u[j,j]`; w of the later columns *of the block* lose `err *
    /// u[j, :]`; `w_j = v`, `errors[:, j - from] = err`. The columns after the block are
    /// [AccumulateObsSpread]'s.
    ///
    /// @param errors F32 `[out, to - from]`
    /// @param w F32 `[out, in]`, columns `[from, to)` accumulate
    /// @param u F32 `[in, in]` of [CholeskyInverse]
    /// @param grid null where nothing is rounded
    /// @param pruning null where nothing is pruned
    record AccumulateObsBlock(
            Tensor errors, Tensor w, Tensor u, Grid grid, Pruning pruning, int from, int to)
            implements CompressionOp {
        public AccumulateObsBlock {
            require(
                    f32(errors, w, u)
                            && 0 <= from
                            && from < to
                            && to <= w.cols()
                            && errors.is(w.rows(), to - from)
                            && u.is(w.cols(), w.cols())
                            && (grid == null || grid.fits(w))
                            && (pruning == null || pruning.fits(w, from, to)),
                    "obsBlock",
                    errors,
                    w,
                    u,
                    grid,
                    pruning);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(
                            Stream.of(errors, w, u),
                            grid == null
                                    ? Stream.<Tensor>empty()
                                    : some(
                                            grid.codes,
                                            grid.scales,
                                            grid.zeros,
                                            grid.global,
                                            grid.groupOf),
                            pruning == null ? Stream.<Tensor>empty() : Stream.of(pruning.mask))
                    .flatMap(s -> s);
        }

        /// @param codes U8 `[out, in]`, the block's columns are written; a pruned weight gets its
        ///   zero point
        /// @param scales one a tile, as a weight on that grid has them; a column's tiles are those
        ///   of its group
        /// @param zeros U8 `[out, groups]` of integers; null of small floats
        /// @param global F32 `[1]` of nested scales, else null
        /// @param groupOf I32 `[in]`
        public record Grid(
                Tensor codes,
                Tensor scales,
                Tensor zeros,
                Tensor global,
                Tensor groupOf,
                Encoding.Grid<?> spec) {
            /// Of integers.
            public Grid(
                    Tensor codes,
                    Tensor scales,
                    Tensor zeros,
                    Tensor groupOf,
                    Encoding.Grid<Codes.Ints> spec) {
                this(codes, scales, zeros, null, groupOf, spec);
            }

            boolean fits(Tensor w) {
                boolean typed = SmallFloatOp.scaled(scales, global, spec);
                boolean points =
                        spec.codes() instanceof Codes.Ints
                                ? zeros.dtype() == DType.U8
                                        && scales.rows() == w.rows()
                                        && scales.shape().equals(zeros.shape())
                                : zeros == null && scales.rows() == spec.tiles().down(w.rows());
                return typed
                        && points
                        && codes.dtype() == DType.U8
                        && codes.is(w.rows(), w.cols())
                        && groupOf.isVector(w.cols())
                        && groupOf.dtype() == DType.I32;
            }
        }

        /// @param mask U8 `[out, in]`, 1 where a weight is pruned
        /// @param chosen null where the mask is read; otherwise it is written, for each group of
        ///   `m` columns when the loop reaches it, by the smallest `w^2 / u[j,j]^2`
        public record Pruning(Tensor mask, MaskRule.NOfM chosen) {
            boolean fits(Tensor w, int from, int to) {
                boolean whole = chosen == null || (from % chosen.m() == 0 && to % chosen.m() == 0);
                return mask.dtype() == DType.U8 && mask.is(w.rows(), w.cols()) && whole;
            }
        }
    }

    /// `w[:, to:] -= errors u[from:to, to:]`: a block's errors spread over the columns after it.
    record AccumulateObsSpread(Tensor w, Tensor errors, Tensor u, int from, int to)
            implements CompressionOp {
        public AccumulateObsSpread {
            require(
                    errors.is(w.rows(), to - from)
                            && u.is(w.cols(), w.cols())
                            && to <= w.cols()
                            && f32(w, errors, u),
                    "obsSpread",
                    w,
                    errors,
                    u);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(w, errors, u);
        }
    }

    /// One group of a sweep of coordinate descent over rounded weights, rows in parallel. What
    /// falls is `(v - w) h (v - w)^T` of each row, for the values v of its codes, rounded to the
    /// dtype of the scales; `r = (v - w) h`, of the group's columns, is what it is at the
    /// beginning.
    ///
    /// Each column j in order takes the code nearest to `v_j - r_j / h_jj`, and r follows; where
    /// `h_jj` is not above 0 it stays. Then the scale becomes `scale - q r^T / q h q^T`, q the
    /// codes minus the zero point, if it is above 0 and the error falls by it.
    ///
    /// @param errors F32 `[out, n]`: values before minus values after, as [AccumulateObsSpread]
    ///   wants them to move r of the columns behind the group
    /// @param r F32 `[out, in]`, accumulates, as codes and scales do; of the group's own columns it
    ///   is undefined afterwards
    /// @param codes U8 `[out, in]`
    /// @param scales F32, F16 or BF16 `[out, groups]`
    /// @param zeros U8 `[out, groups]`
    /// @param h F32 `[in, in]`, symmetric
    record AccumulateDescent(
            Tensor errors,
            Tensor r,
            Tensor codes,
            Tensor scales,
            Tensor zeros,
            Tensor h,
            Encoding.Grid<Codes.Ints> spec,
            int group)
            implements CompressionOp {
        public AccumulateDescent {
            long in = r.cols();
            long from = group * spec.tiles().width(in);
            require(
                    f32(errors, r, h)
                            && codes.dtype() == DType.U8
                            && codes.shape().equals(r.shape())
                            && scales.dtype().isFloat()
                            && scales.is(r.rows(), spec.tiles().across(in))
                            && zeros.dtype() == DType.U8
                            && zeros.shape().equals(scales.shape())
                            && h.is(in, in)
                            && 0 <= from
                            && from < in
                            && errors.is(r.rows(), Math.min(in - from, spec.tiles().width(in))),
                    "descent",
                    errors,
                    r,
                    codes,
                    scales,
                    zeros,
                    h,
                    spec);
        }

        /// The group's first column.
        public int from() {
            return Math.toIntExact(group * spec.tiles().width(r.cols()));
        }

        /// Behind its last column.
        public int to() {
            return from() + Math.toIntExact(errors.cols());
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(errors, r, codes, scales, zeros, h);
        }
    }

    /// `out[o,i]` = the code `codes[o,i]` in the bit stream of row o.
    ///
    /// @param out I32 `[out, words]`, or of four bits U8 `[out, in / 2]`
    /// @param codes U8 `[out, in]`
    record PackCodes(Tensor out, Tensor codes, int bits) implements CompressionOp {
        public PackCodes {
            boolean words =
                    out.dtype() == DType.I32
                            && out.is(codes.rows(), Math.ceilDiv(codes.cols() * bits, 32L));
            boolean pairs =
                    out.dtype() == DType.U8
                            && bits == 4
                            && codes.cols() % 2 == 0
                            && out.is(codes.rows(), codes.cols() / 2);
            require((words || pairs) && codes.dtype() == DType.U8, "packCodes", out, codes);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, codes);
        }
    }

    /// The dense values of any weight, F32 `[out, in]`: the reference that every packed product
    /// must agree with.
    record Dequantize(Tensor out, Weight w) implements CompressionOp {
        public Dequantize {
            require(out.is(w.outFeatures(), w.inFeatures()) && f32(out), "dequantize", out, w);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out), w.tensors());
        }
    }
}
