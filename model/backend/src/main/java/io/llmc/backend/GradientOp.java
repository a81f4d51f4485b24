// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;
import static io.llmc.backend.Shapes.some;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.stream.Stream;

/// Gradients of [ForwardOp]s, summed up: a tensor may feed many operations.
public sealed interface GradientOp extends Op {
    // A tensor named dX holds the gradient of the loss with respect to X. Gradients accumulate,
    // since a tensor may have several readers; null stands for a gradient that nobody wants.

    /// `dx[t,i] += sum_o dout[t,o] w[o,i]`: what [Matmul] hands back to its input, whatever the
    /// encoding of its weight.
    record AccumulateMatmulInput(Tensor dx, Tensor dout, Weight w) implements GradientOp {
        public AccumulateMatmulInput {
            require(
                    dx.is(dout.rows(), w.inFeatures())
                            && dout.cols() == w.outFeatures()
                            && f32(dx, dout),
                    "accumulateMatmulInput",
                    dx,
                    dout,
                    w);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(some(dx, dout), w.tensors());
        }
    }

    /// `dw[o,i] += sum_t dout[t,o] x[t,i]`: what [Matmul] hands back to a dense weight; rows in
    /// their order.
    record AccumulateOuter(Tensor dw, Tensor dout, Tensor x) implements GradientOp {
        public AccumulateOuter {
            require(
                    dw.is(dout.cols(), x.cols()) && dout.rows() == x.rows() && f32(dw, dout, x),
                    "accumulateOuter",
                    dw,
                    dout,
                    x);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dw, dout, x);
        }
    }

    /// `dscales[o,g] += sum_i dvalues[o,i] (code[o,i] - zero[o,g])` over the inputs of a group, in
    /// F64: what the values of a packed weight hand back to its scales. That values are rounded to
    /// the type of the scales is passed over, as it is where scales are F32.
    ///
    /// @param dscales F32 `[out, groups]`
    /// @param dvalues F32 `[out, in]`
    record AccumulateScales(Tensor dscales, Tensor dvalues, Weight.Grouped w)
            implements GradientOp {
        public AccumulateScales {
            require(
                    dscales.is(w.scales().rows(), w.scales().cols())
                            && dvalues.is(w.outFeatures(), w.inFeatures())
                            && f32(dscales, dvalues),
                    "accumulateScales",
                    dscales,
                    dvalues,
                    w);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(some(dscales, dvalues), w.tensors());
        }
    }

    /// `sum += factor * x`
    record AccumulateScaled(Tensor sum, Tensor x, float factor) implements GradientOp {
        public AccumulateScaled {
            require(sum.like(x) && f32(sum), "accumulateScaled", sum, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(sum, x);
        }
    }

    /// The gradient of [ForwardOp.Convolve]: `dx[t,c] += sum_j weight[c,j] dout[t + taps - 1 -
    /// j,c]` and, in F64, `dweight[c,j] += sum_t dout[t,c] x[t - taps + 1 + j,c]`, within each
    /// sequence. That of its bias is [AccumulateColumnSums].
    ///
    /// @param dweight F32 `[channels, taps]`, or null; dx too
    record AccumulateConvolveGrad(
            Tensor dx, Tensor dweight, Tensor dout, Tensor x, Tensor weight, int length)
            implements GradientOp {
        public AccumulateConvolveGrad {
            require(
                    (dx == null || dx.like(x))
                            && (dweight == null
                                    || f32(dweight) && dweight.shape().equals(weight.shape()))
                            && dout.like(x)
                            && f32(x)
                            && weight.shape().rank() == 2
                            && weight.rows() == x.cols()
                            && x.rows() % length == 0,
                    "accumulateConvolveGrad",
                    dx,
                    dweight,
                    dout,
                    x,
                    weight,
                    length);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dweight, dout, x, weight);
        }
    }

    /// `sum[c] += sum_t x[t,c]`, rows in their order, in F64.
    record AccumulateColumnSums(Tensor sum, Tensor x) implements GradientOp {
        public AccumulateColumnSums {
            require(sum.isVector(x.cols()) && f32(sum, x), "accumulateColumnSums", sum, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(sum, x);
        }
    }

    /// `dx[:, from : from + dout.cols] += dout`: the gradient of [Columns].
    record AccumulateColumns(Tensor dx, Tensor dout, long from) implements GradientOp {
        public AccumulateColumns {
            require(
                    dx.rows() == dout.rows()
                            && from >= 0
                            && from + dout.cols() <= dx.cols()
                            && f32(dx, dout),
                    "accumulateColumns",
                    dx,
                    dout);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dout);
        }
    }

    /// `dx += dout * (1 - (out / cap)^2)`: the gradient of [Softcap].
    record AccumulateSoftcapGrad(Tensor dx, Tensor dout, Tensor out, float cap)
            implements GradientOp {
        public AccumulateSoftcapGrad {
            require(
                    dx.like(dout) && dout.like(out) && f32(out) && cap > 0,
                    "accumulateSoftcapGrad",
                    dx,
                    dout,
                    out);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dout, out);
        }
    }

    /// `dx += dout` where `|out| < most`: the gradient of [Clip].
    record AccumulateClipGrad(Tensor dx, Tensor dout, Tensor out, float most)
            implements GradientOp {
        public AccumulateClipGrad {
            require(
                    dx.like(dout) && dout.like(out) && f32(out) && most > 0,
                    "accumulateClipGrad",
                    dx,
                    dout,
                    out);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dout, out);
        }
    }

    /// The gradient of [RmsNorm]; sums over channels in F64, over rows in their order.
    ///
    /// @param dweight F32 `[channels]`, of the stored weight; null where it is frozen or there is
    ///   none
    /// @param weight null for none
    record AccumulateRmsNormGrad(
            Tensor dx,
            Tensor dweight,
            Tensor dout,
            Tensor x,
            Tensor weight,
            float eps,
            float offset)
            implements GradientOp {
        public AccumulateRmsNormGrad {
            require(
                    dx.like(dout)
                            && dout.like(x)
                            && f32(x)
                            && (dweight == null || (dweight.isVector(x.cols()) && f32(dweight)))
                            && (weight == null || weight.isVector(x.cols())),
                    "accumulateRmsNormGrad",
                    dx,
                    dweight,
                    dout,
                    x,
                    weight);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dweight, dout, x, weight);
        }
    }

    /// The gradient of [LayerNorm]; sums over channels in F64, over rows in their order.
    ///
    /// @param dweight F32 `[channels]`; null where it is frozen or there is none, as `dbias`
    record AccumulateLayerNormGrad(
            Tensor dx,
            Tensor dweight,
            Tensor dbias,
            Tensor dout,
            Tensor x,
            Tensor weight,
            float eps)
            implements GradientOp {
        public AccumulateLayerNormGrad {
            require(
                    dx.like(dout)
                            && dout.like(x)
                            && f32(x)
                            && (dweight == null || (dweight.isVector(x.cols()) && f32(dweight)))
                            && (dbias == null || (dbias.isVector(x.cols()) && f32(dbias)))
                            && (weight == null || weight.isVector(x.cols())),
                    "accumulateLayerNormGrad",
                    dx,
                    dweight,
                    dbias,
                    dout,
                    x,
                    weight);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dweight, dbias, dout, x, weight);
        }
    }

    /// `dx += ` dout turned back by the angle that [Rope] turned x by.
    record AccumulateRopeGrad(
            Tensor dx, Tensor dout, Tensor cosSin, int headDim, int length, boolean interleaved)
            implements GradientOp {
        public AccumulateRopeGrad {
            require(
                    dx.like(dout)
                            && f32(dx, cosSin)
                            && dx.cols() % headDim == 0
                            && cosSin.cols() <= headDim
                            && cosSin.cols() % 2 == 0
                            && cosSin.rows() >= length
                            && dx.rows() % length == 0,
                    "accumulateRopeGrad",
                    dx,
                    dout,
                    cosSin);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dout, cosSin);
        }
    }

    /// The gradient of [ForwardOp.Attention]. Probabilities are computed again, tile by tile; a
    /// key's sums run over queries in their order.
    ///
    /// A sink's probability takes from the keys' and gives nothing: its gradient is `-sum_t p[t] *
    /// dout[t] . out[t]`.
    ///
    /// @param dsinks null where nobody wants it
    /// @param forward after it ran: its output is read
    record AccumulateAttentionGrad(
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor dsinks,
            Tensor dout,
            ForwardOp.Attention forward)
            implements GradientOp {
        public AccumulateAttentionGrad {
            require(
                    dq.like(forward.q())
                            && dk.like(forward.k())
                            && dv.like(forward.v())
                            && dout.like(forward.out())
                            && (dsinks == null
                                    || forward.sinks() != null && dsinks.like(forward.sinks())),
                    "accumulateAttentionGrad",
                    dq,
                    dk,
                    dv,
                    dsinks,
                    dout,
                    forward);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(some(dq, dk, dv, dsinks, dout), forward.operands());
        }
    }

    /// `dx += dout * activation'(x)`
    record AccumulateActivateGrad(Tensor dx, Tensor dout, Tensor x, Activation activation)
            implements GradientOp {
        public AccumulateActivateGrad {
            require(dx.like(dout) && dout.like(x) && f32(x), "accumulateActivateGrad", dx, dout, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dout, x);
        }
    }

    /// The gradient of [Gated]: `dgate += dout * up * activation'(gate)`, `dup += dout *
    /// activation(gate)`.
    record AccumulateGatedGrad(
            Tensor dgate, Tensor dup, Tensor dout, Tensor gate, Tensor up, Activation activation)
            implements GradientOp {
        public AccumulateGatedGrad {
            require(
                    dgate.like(gate) && dup.like(up) && dout.like(gate) && gate.like(up) && f32(up),
                    "accumulateGatedGrad",
                    dgate,
                    dup,
                    dout,
                    gate,
                    up);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dgate, dup, dout, gate, up);
        }
    }

    /// The gradient of [ForwardOp.ClampedSwiGlu]; beyond a bound it is 0.
    record AccumulateClampedSwiGluGrad(
            Tensor dgate, Tensor dup, Tensor dout, Tensor gate, Tensor up, ForwardOp.Clamp clamp)
            implements GradientOp {
        public AccumulateClampedSwiGluGrad {
            require(
                    dgate.like(gate) && dup.like(up) && dout.like(gate) && gate.like(up) && f32(up),
                    "accumulateClampedSwiGluGrad",
                    dgate,
                    dup,
                    dout,
                    gate,
                    up,
                    clamp);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dgate, dup, dout, gate, up);
        }
    }

    /// The gradient of [ForwardOp.Xielu] with respect to x.
    record AccumulateXieluGrad(Tensor dx, Tensor dout, Tensor x, ForwardOp.Curve curve)
            implements GradientOp {
        public AccumulateXieluGrad {
            require(
                    dx.like(dout) && dout.like(x) && f32(x),
                    "accumulateXieluGrad",
                    dx,
                    dout,
                    x,
                    curve);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(some(dx, dout, x), curve.tensors());
        }
    }

    /// The gradient of [ForwardOp.Sinkhorn] with respect to x, in F64.
    record AccumulateSinkhornGrad(Tensor dx, Tensor dout, Tensor x, ForwardOp.Balance balance)
            implements GradientOp {
        public AccumulateSinkhornGrad {
            long numbers = (long) balance.size() * balance.size();
            require(
                    dx.like(dout) && dout.like(x) && f32(x) && x.cols() == numbers,
                    "accumulateSinkhornGrad",
                    dx,
                    dout,
                    x,
                    balance);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(dx, dout, x);
        }
    }

    /// The gradient of [CompressedOp.Compress] over whole sequences.
    ///
    /// @param dtokens like what the entries are made of
    /// @param dplaces F32; null where nobody wants it
    /// @param dout of the entries
    record AccumulateCompressGrad(
            Tensor dtokens, Tensor dplaces, Tensor dout, CompressedOp.Compress forward)
            implements GradientOp {
        public AccumulateCompressGrad {
            require(
                    whole(forward.tokens(), dtokens)
                            && dout.like(forward.out())
                            && (dplaces == null
                                    || f32(dplaces)
                                            && dplaces.shape().equals(forward.places().shape())),
                    "accumulateCompressGrad",
                    dtokens,
                    dplaces,
                    dout,
                    forward);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(some(dtokens, dplaces, dout), forward.operands());
        }
    }

    /// The gradient of [CompressedOp.CompressedAttention] over whole sequences.
    ///
    /// @param dkeys of keys of tokens, as keys and as values
    /// @param dsinks F32; null where nobody wants it
    record AccumulateCompressedAttentionGrad(
            Tensor dq,
            Tensor dkeys,
            Tensor dentries,
            Tensor dsinks,
            Tensor dout,
            CompressedOp.CompressedAttention forward)
            implements GradientOp {
        public AccumulateCompressedAttentionGrad {
            require(
                    dq.like(forward.q())
                            && whole(forward.keys(), dkeys)
                            && whole(forward.entries(), dentries)
                            && dout.like(forward.out())
                            && (dsinks == null || dsinks.like(forward.sinks())),
                    "accumulateCompressedAttentionGrad",
                    dq,
                    dkeys,
                    dentries,
                    dsinks,
                    dout,
                    forward);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(some(dq, dkeys, dentries, dsinks, dout), forward.operands());
        }
    }

    private static boolean whole(SparseOp.Keys keys, Tensor gradient) {
        return keys instanceof SparseOp.Keys.Whole(Tensor x, _) && gradient.like(x);
    }

    /// The gradient of [AccumulateRows]: `dx[r,:] += factor * weights[r] * dsum[rows[r],:]`,
    /// `dweights[r] += factor * dsum[rows[r],:] . x[r,:]`, in F64.
    ///
    /// @param dweights null where there are no weights
    record AccumulateRowsGrad(
            Tensor dx,
            Tensor dweights,
            Tensor dsum,
            Tensor x,
            Tensor rows,
            Tensor weights,
            float factor)
            implements GradientOp {
        public AccumulateRowsGrad {
            require(
                    dx.like(x)
                            && dsum.cols() == x.cols()
                            && rows.isVector(x.rows())
                            && rows.dtype() == DType.I32
                            && (weights == null || (weights.isVector(x.rows()) && f32(weights)))
                            && (dweights == null || (weights != null && dweights.like(weights)))
                            && f32(x, dsum),
                    "accumulateRowsGrad",
                    dx,
                    dweights,
                    dsum,
                    x,
                    rows,
                    weights);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, dweights, dsum, x, rows, weights);
        }
    }

    /// The gradient of [ForwardOp.Route] with respect to the logits; the choice itself has none.
    ///
    /// @param experts, weights as [ForwardOp.Route] wrote them
    record AccumulateRouteGrad(
            Tensor dlogits,
            Tensor dweights,
            Tensor experts,
            Tensor weights,
            Tensor logits,
            RouterSpec spec)
            implements GradientOp {
        public AccumulateRouteGrad {
            require(
                    dlogits.like(logits)
                            && dweights.like(weights)
                            && experts.dtype() == DType.I32
                            && experts.shape().equals(weights.shape())
                            && experts.rows() == logits.rows()
                            && f32(logits, weights),
                    "accumulateRouteGrad",
                    dlogits,
                    dweights,
                    experts,
                    weights,
                    logits,
                    spec);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dlogits, dweights, experts, weights, logits);
        }
    }
}
