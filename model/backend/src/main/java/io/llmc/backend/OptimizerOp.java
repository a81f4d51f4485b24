// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import java.util.stream.Stream;

/// Steps of the optimiser, from gradients to weights.
public sealed interface OptimizerOp extends Op {
    /// One step of Adam with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv
    /// 1711.05101).
    ///
    /// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, `w -= rate ((m / (1 - b1^t)) / (sqrt(v /
    /// (1 - b2^t)) + eps) + decay w)`, g times `gradientScale`.
    ///
    /// @param w F32, accumulates, as m and v do
    record AccumulateAdamW(Tensor w, Tensor m, Tensor v, Tensor g, AdamSpec spec)
            implements OptimizerOp {
        public AccumulateAdamW {
            require(w.like(m) && m.like(v) && v.like(g) && f32(w), "adamW", w, m, v, g);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(w, m, v, g);
        }
    }

    /// [AccumulateAdamW] whose m and v are kept in 8 bits: a block is decoded, stepped and encoded
    /// again (Dettmers et al., 2021, arXiv 2110.02861). All of it is defined in F32.
    ///
    /// A value is `scale * map[code]`, its block's scale the largest magnitude. The map is the
    /// dynamic tree: its magnitudes are 0, 1 and, for every e from 0 to 6, `10^-e` times the
    /// middles of equal parts of [0.1, 1], `2^(6-e)` of them for m, which has a sign, and `2^(7-e)`
    /// for v. The code of v is the rank of its magnitude; that of m is 127 plus or minus the rank,
    /// where -1 does not exist. The nearest code is taken, the lower magnitude on a tie; but a v
    /// above 0 never becomes 0, since the next step would divide by eps alone (Li et al., 2023,
    /// arXiv 2309.01507).
    ///
    /// @param w F32, accumulates, as m and v do
    record AccumulateAdamW8(Tensor w, Moment m, Moment v, Tensor g, AdamSpec spec)
            implements OptimizerOp {
        public AccumulateAdamW8 {
            require(w.like(g) && f32(w) && m.fits(w) && v.fits(w), "adamW8", w, m, v, g);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(w, m.codes, m.scales, v.codes, v.scales, g);
        }
    }

    /// A running mean in 8 bits; zeros where all scales are 0.
    ///
    /// @param codes U8, of the weight's shape
    /// @param scales F32 `[ceil(size / BLOCK)]`
    record Moment(Tensor codes, Tensor scales) {
        /// Values with one scale, counted along the whole tensor.
        public static final int BLOCK = 256;

        public static long scales(long size) {
            return Math.ceilDiv(size, (long) BLOCK);
        }

        boolean fits(Tensor w) {
            return codes.dtype() == DType.U8
                    && codes.shape().equals(w.shape())
                    && f32(scales)
                    && scales.isVector(scales(w.shape().size()));
        }
    }

    /// One step of learned rounding, by the signs of gradients (Cheng et al., 2023, arXiv
    /// 2309.05516). What is rounded is w, and rounding hands the gradient on as it is.
    ///
    /// Each weight: `w -= rate * |scale| * sign(g)`, but it stays within half a step of the grid's
    /// ends. Each group: `scale -= |scale| * rangeRate * sign(sum_i g_i (code_i - zero))`, the sum
    /// in F64. Then `g *= momentum`.
    ///
    /// @param w F32 `[out, in]`, accumulates, as scales and g do
    /// @param scales F32 `[out, groups]`
    /// @param g F32, like w: by the weights as they were rounded
    /// @param codes U8 `[out, in]`, what w was rounded to
    /// @param zeros U8 `[out, groups]`
    record AccumulateSignStep(
            Tensor w,
            Tensor scales,
            Tensor g,
            Tensor codes,
            Tensor zeros,
            Encoding.Grid<Codes.Ints> spec,
            SignSpec step)
            implements OptimizerOp {
        public AccumulateSignStep {
            require(
                    f32(w, scales, g)
                            && w.like(g)
                            && codes.dtype() == DType.U8
                            && codes.shape().equals(w.shape())
                            && scales.is(w.rows(), spec.tiles().across(w.cols()))
                            && zeros.dtype() == DType.U8
                            && zeros.shape().equals(scales.shape()),
                    "signStep",
                    w,
                    scales,
                    g,
                    codes,
                    zeros);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(w, scales, g, codes, zeros);
        }
    }

    /// @param rate of weights, as a part of their scale
    /// @param rangeRate of scales, as a part of themselves
    /// @param momentum what stays of a gradient for the next step
    record SignSpec(float rate, float rangeRate, float momentum) {}

    /// @param step t, from 1
    record AdamSpec(
            float rate,
            float beta1,
            float beta2,
            float eps,
            float decay,
            int step,
            float gradientScale) {}
}
