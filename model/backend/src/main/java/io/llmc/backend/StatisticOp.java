// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.stream.Stream;

/// What calibration sums up over activations and weights, and the linear algebra on such sums.
public sealed interface StatisticOp extends Op {
    /// `h[i,j] += scale * sum_t x[t,i] x[t,j]`: the Hessian of a layer's squared output error. Both
    /// triangles are written; rows of x are summed in their order.
    record AccumulateGram(Tensor h, Tensor x, float scale) implements StatisticOp {
        public AccumulateGram {
            require(h.is(x.cols(), x.cols()) && f32(h, x), "accumulateGram", h, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(h, x);
        }
    }

    /// `out[i,j] = h[order[i], order[j]]`; order I32 `[out.rows]`.
    record GatherSymmetric(Tensor out, Tensor h, Tensor order) implements StatisticOp {
        public GatherSymmetric {
            require(
                    out.is(out.rows(), out.rows())
                            && h.is(h.rows(), h.rows())
                            && order.isVector(out.rows())
                            && order.dtype() == DType.I32
                            && f32(out, h),
                    "gatherSymmetric",
                    out,
                    h,
                    order);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, h, order);
        }
    }

    /// `out[r,j] = x[r, order[j]]`, of any one element type; order I32 `[out.cols]`.
    record GatherColumns(Tensor out, Tensor x, Tensor order) implements StatisticOp {
        public GatherColumns {
            require(
                    out.rows() == x.rows()
                            && out.dtype() == x.dtype()
                            && order.isVector(out.cols())
                            && order.dtype() == DType.I32,
                    "gatherColumns",
                    out,
                    x,
                    order);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x, order);
        }
    }

    /// The upper Cholesky factor of the inverse: `u^T u = (h + damp I)^-1`, by `h = L L^T`, `L^-1`,
    /// `(h)^-1 = L^-T L^-1`, and its factor; all in one op because no host decision lies between.
    ///
    /// @param u F32 `[n, n]`, its lower triangle zero
    /// @param status I32 `[1]`: 0, or 1 + the row where a pivot was not positive (then u is
    ///   undefined)
    /// @param h F32 `[n, n]`, symmetric
    record CholeskyInverse(Tensor u, Tensor status, Tensor h, float damp) implements StatisticOp {
        public CholeskyInverse {
            require(
                    u.like(h) && h.is(h.rows(), h.rows()) && status.isVector(1) && f32(h),
                    "choleskyInverse",
                    u,
                    status,
                    h);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(u, status, h);
        }
    }

    /// `out[r] = e[r,:] h e[r,:]^T`: a row's squared output error under a Hessian, in F64; h
    /// symmetric.
    ///
    /// @param out F64 `[rows]`
    record QuadraticForm(Tensor out, Tensor e, Tensor h) implements StatisticOp {
        public QuadraticForm {
            require(
                    out.isVector(e.rows())
                            && out.dtype() == DType.F64
                            && h.is(e.cols(), e.cols())
                            && f32(e, h),
                    "quadraticForm",
                    out,
                    e,
                    h);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, e, h);
        }
    }

    /// `out[i,j] = x[j,i]`
    record Transpose(Tensor out, Tensor x) implements StatisticOp {
        public Transpose {
            require(out.is(x.cols(), x.rows()) && f32(out, x), "transpose", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `sum[c] += sum_t |x[t,c]|^power`, in F64, rows in their order.
    ///
    /// @param sum F64 `[columns]`
    /// @param power 1 or 2
    record AccumulateColumnNorms(Tensor sum, Tensor x, int power) implements StatisticOp {
        public AccumulateColumnNorms {
            require(
                    sum.isVector(x.cols())
                            && sum.dtype() == DType.F64
                            && x.dtype().isFloat()
                            && (power == 1 || power == 2),
                    "accumulateColumnNorms",
                    sum,
                    x,
                    power);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(sum, x);
        }
    }

    /// `most[c] = max(most[c], max_t |x[t,c]|)`
    ///
    /// @param most F32 `[columns]`, none below 0
    /// @param x F32, F16 or BF16
    record AccumulateColumnMaxima(Tensor most, Tensor x) implements StatisticOp {
        public AccumulateColumnMaxima {
            require(
                    most.isVector(x.cols()) && f32(most) && x.dtype().isFloat(),
                    "accumulateColumnMaxima",
                    most,
                    x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(most, x);
        }
    }

    /// `out[r] = sum_c x[r,c]^2`, in F64.
    ///
    /// @param out F64 `[rows]`
    record RowSquares(Tensor out, Tensor x) implements StatisticOp {
        public RowSquares {
            require(
                    out.isVector(x.rows()) && out.dtype() == DType.F64 && x.dtype().isFloat(),
                    "rowSquares",
                    out,
                    x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `out[i] = h[i,i]`
    record Diagonal(Tensor out, Tensor h) implements StatisticOp {
        public Diagonal {
            require(
                    out.isVector(h.rows()) && h.is(h.rows(), h.rows()) && f32(out, h),
                    "diagonal",
                    out,
                    h);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, h);
        }
    }

    /// `out[i,j] = factor * h[i,j]`, and `out[i,i] = h[i,i]`: correlations of inputs drawn towards
    /// none, as few samples ask for (Ledoit and Wolf, 2004, with the diagonal as the target).
    ///
    /// @param factor 0 to 1
    record ShrinkCorrelations(Tensor out, Tensor h, float factor) implements StatisticOp {
        public ShrinkCorrelations {
            require(
                    h.is(h.rows(), h.rows()) && out.like(h) && f32(out, h),
                    "shrinkCorrelations",
                    out,
                    h);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, h);
        }
    }

    /// `out[o]` = how many `|w[o,i]| * importance[i]` of a row are above the threshold.
    ///
    /// @param out F64 `[out]`
    /// @param importance F32 `[in]`
    record CountAbove(Tensor out, Tensor w, Tensor importance, float threshold)
            implements StatisticOp {
        public CountAbove {
            require(
                    out.isVector(w.rows())
                            && out.dtype() == DType.F64
                            && w.dtype().isFloat()
                            && importance.isVector(w.cols())
                            && f32(importance),
                    "countAbove",
                    out,
                    w,
                    importance);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, w, importance);
        }
    }
}
