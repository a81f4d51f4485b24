// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.tensor.DType;
import io.llmc.tensor.QuantSpec;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Arrays;
import java.util.Objects;
import java.util.stream.Stream;

/// Every operation a backend must run, on one page. A record's constructor checks its shapes, so a
/// kernel never does.
///
/// An operation writes its first operand(s) and nothing else, and never reads what it overwrites,
/// except where its name says that it accumulates. Activations are F32 `[tokens, channels]` unless
/// said; parameters (norm weights, biases, embeddings) may be F32, F16 or BF16. Optional operands
/// are null where absent.
public sealed interface Op {
    /// Everything read or written, for the device and lifetime check.
    Stream<Tensor> operands();

    // ---------------------------------------------------------------- forward

    /// `out[t,:] = scale * table[ids[t],:]`; ids I32 `[tokens]`.
    record Embed(Tensor out, Tensor ids, Tensor table, float scale) implements Op {
        public Embed {
            require(
                    ids.isVector(out.rows())
                            && ids.dtype() == DType.I32
                            && f32(out)
                            && out.cols() == table.cols(),
                    "embed",
                    out,
                    ids,
                    table);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, ids, table);
        }
    }

    /// `out[t,o] = sum_i x[t,i] * w[o,i]`
    record Matmul(Tensor out, Tensor x, Weight w) implements Op {
        public Matmul {
            require(
                    out.is(x.rows(), w.outFeatures()) && x.cols() == w.inFeatures() && f32(out, x),
                    "matmul",
                    out,
                    x,
                    w);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out, x), w.tensors());
        }
    }

    /// `out[t,c] = x[t,c] + row[c]`: a bias.
    record AddRow(Tensor out, Tensor x, Tensor row) implements Op {
        public AddRow {
            require(out.like(x) && row.isVector(x.cols()) && f32(x), "addRow", out, x, row);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x, row);
        }
    }

    /// `out = a + scale * b`
    record Add(Tensor out, Tensor a, Tensor b, float scale) implements Op {
        public Add {
            require(out.like(a) && a.like(b) && f32(a), "add", out, a, b);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, a, b);
        }
    }

    /// `out = factor * x`, and `out = x` with other element types where they differ (F32, F16,
    /// BF16).
    record Scale(Tensor out, Tensor x, float factor) implements Op {
        public Scale {
            require(out.shape().equals(x.shape()), "scale", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `out = cap * tanh(x / cap)`
    record Softcap(Tensor out, Tensor x, float cap) implements Op {
        public Softcap {
            require(out.like(x) && f32(x) && cap > 0, "softcap", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `out[t,:] = x[t,:] / sqrt(mean(x[t,:]^2) + eps) * (offset + weight)`; the sum of squares in
    /// F64.
    ///
    /// @param weight `[channels]`, or null for none
    /// @param offset 1 where the family stores the weight minus one (gemma), else 0
    record RmsNorm(Tensor out, Tensor x, Tensor weight, float eps, float offset) implements Op {
        public RmsNorm {
            require(
                    out.like(x) && f32(x) && (weight == null || weight.isVector(x.cols())),
                    "rmsNorm",
                    out,
                    x,
                    weight);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(out, x, weight);
        }
    }

    /// `out[t,:] = (x[t,:] - mean) / sqrt(variance + eps) * weight + bias`; weight and bias may be
    /// null.
    record LayerNorm(Tensor out, Tensor x, Tensor weight, Tensor bias, float eps) implements Op {
        public LayerNorm {
            require(
                    out.like(x)
                            && f32(x)
                            && (weight == null || weight.isVector(x.cols()))
                            && (bias == null || bias.isVector(x.cols())),
                    "layerNorm",
                    out,
                    x,
                    weight,
                    bias);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(out, x, weight, bias);
        }
    }

    /// Rotates pairs of the first `2 * cosSin.cols() / 2` dimensions of every head by the angle of
    /// the row's position, `row % length`.
    ///
    /// `out[2 of pair k] = (a cos - b sin, b cos + a sin)`; other dimensions are copied.
    ///
    /// @param cosSin F32 `[positions >= length, rotated]`: `rotated/2` cosines, then `rotated/2`
    ///   sines
    /// @param length rows of one sequence
    /// @param interleaved pair k is (2k, 2k+1), else (k, k + rotated/2)
    record Rope(Tensor out, Tensor x, Tensor cosSin, int headDim, int length, boolean interleaved)
            implements Op {
        public Rope {
            require(
                    out.like(x)
                            && f32(x, cosSin)
                            && x.cols() % headDim == 0
                            && cosSin.cols() <= headDim
                            && cosSin.cols() % 2 == 0
                            && cosSin.rows() >= length
                            && x.rows() % length == 0,
                    "rope",
                    out,
                    x,
                    cosSin);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x, cosSin);
        }
    }

    /// Causal attention within each sequence, grouped heads, in tiles: no `T x T` matrix exists.
    ///
    /// `out[t,h,:] = sum_s softmax_s(cap(scale * q[t,h,:] . k[s,h',:])) v[s,h',:]`, where `h' = h *
    /// kvHeads / heads`, over positions `s <= t`, and `s > t - window` where there is a window.
    ///
    /// @param out `[tokens, heads * headDim]`
    /// @param q `[tokens, heads * headDim]`
    /// @param k `[tokens, kvHeads * headDim]`, as is `v`
    record Attention(Tensor out, Tensor q, Tensor k, Tensor v, AttentionSpec spec) implements Op {
        public Attention {
            long wide = (long) spec.heads() * spec.headDim();
            long narrow = (long) spec.kvHeads() * spec.headDim();
            require(
                    out.is(q.rows(), wide)
                            && q.cols() == wide
                            && k.is(q.rows(), narrow)
                            && v.like(k)
                            && q.rows() % spec.length() == 0
                            && f32(out, q, k, v),
                    "attention",
                    out,
                    q,
                    k,
                    v,
                    spec);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, q, k, v);
        }
    }

    /// @param length rows of one sequence
    /// @param window keys that a position sees, itself among them; 0 for all before it
    /// @param softcap scores become `cap * tanh(score / cap)`; 0 for none
    record AttentionSpec(
            int length,
            int heads,
            int kvHeads,
            int headDim,
            float scale,
            int window,
            float softcap) {
        public AttentionSpec {
            if (length < 1 || heads < 1 || kvHeads < 1 || heads % kvHeads != 0 || window < 0) {
                throw new IllegalArgumentException(
                        "attention of %d heads over %d, length %d, window %d"
                                .formatted(heads, kvHeads, length, window));
            }
        }
    }

    /// A gate's or MLP's nonlinearity.
    enum Activation {
        SILU,
        /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
        GELU_TANH,
        GELU_ERF,
        RELU
    }

    /// `out = activation(x)`
    record Activate(Tensor out, Tensor x, Activation activation) implements Op {
        public Activate {
            require(out.like(x) && f32(x), "activate", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `out = activation(gate) * up`
    record Gated(Tensor out, Tensor gate, Tensor up, Activation activation) implements Op {
        public Gated {
            require(out.like(gate) && gate.like(up) && f32(up), "gated", out, gate, up);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, gate, up);
        }
    }

    /// `out = x[:, from : from + out.cols]`: takes a fused projection apart.
    record Columns(Tensor out, Tensor x, long from) implements Op {
        public Columns {
            require(
                    out.rows() == x.rows()
                            && from >= 0
                            && from + out.cols() <= x.cols()
                            && f32(out, x),
                    "columns",
                    out,
                    x,
                    from);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `out[r,:] = x[rows[r],:]`, of any one element type; rows I32 `[out.rows]`.
    record GatherRows(Tensor out, Tensor x, Tensor rows) implements Op {
        public GatherRows {
            require(
                    rows.isVector(out.rows())
                            && rows.dtype() == DType.I32
                            && out.cols() == x.cols()
                            && out.dtype() == x.dtype(),
                    "gatherRows",
                    out,
                    x,
                    rows);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x, rows);
        }
    }

    /// `sum[rows[r],:] += factor * weights[r] * x[r,:]`, in the order of r.
    ///
    /// @param weights F32 `[rows]`; null for all ones
    record AccumulateRows(Tensor sum, Tensor x, Tensor rows, Tensor weights, float factor)
            implements Op {
        public AccumulateRows {
            require(
                    rows.isVector(x.rows())
                            && rows.dtype() == DType.I32
                            && (weights == null || (weights.isVector(x.rows()) && f32(weights)))
                            && sum.cols() == x.cols()
                            && f32(sum, x),
                    "accumulateRows",
                    sum,
                    x,
                    rows,
                    weights);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(sum, x, rows, weights);
        }
    }

    /// The k largest router scores of each token, the largest first, a tie to the lower expert;
    /// weights are the softmax over all experts, renormalised over the chosen where asked.
    ///
    /// @param experts I32 `[tokens, k]`
    /// @param weights F32 `[tokens, k]`
    record Route(Tensor experts, Tensor weights, Tensor logits, boolean renormalise) implements Op {
        public Route {
            require(
                    experts.dtype() == DType.I32
                            && experts.shape().equals(weights.shape())
                            && experts.rows() == logits.rows()
                            && experts.cols() <= logits.cols()
                            && f32(weights, logits),
                    "route",
                    experts,
                    weights,
                    logits);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(experts, weights, logits);
        }
    }

    // ---------------------------------------------------------------- gradients
    //
    // A tensor named dX holds the gradient of the loss with respect to X. Gradients accumulate,
    // since
    // a tensor may have several readers; null stands for a gradient that nobody wants.

    /// `dx[t,i] += sum_o dout[t,o] w[o,i]`: what [Matmul] hands back to its input, whatever the
    /// encoding of its weight.
    record AccumulateMatmulInput(Tensor dx, Tensor dout, Weight w) implements Op {
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
    record AccumulateOuter(Tensor dw, Tensor dout, Tensor x) implements Op {
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

    /// `sum += factor * x`
    record AccumulateScaled(Tensor sum, Tensor x, float factor) implements Op {
        public AccumulateScaled {
            require(sum.like(x) && f32(sum), "accumulateScaled", sum, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(sum, x);
        }
    }

    /// `sum[c] += sum_t x[t,c]`, rows in their order, in F64.
    record AccumulateColumnSums(Tensor sum, Tensor x) implements Op {
        public AccumulateColumnSums {
            require(sum.isVector(x.cols()) && f32(sum, x), "accumulateColumnSums", sum, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(sum, x);
        }
    }

    /// `dx[:, from : from + dout.cols] += dout`: the gradient of [Columns].
    record AccumulateColumns(Tensor dx, Tensor dout, long from) implements Op {
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
    record AccumulateSoftcapGrad(Tensor dx, Tensor dout, Tensor out, float cap) implements Op {
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
            implements Op {
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
            implements Op {
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
            implements Op {
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

    /// The gradient of [Attention]. Probabilities are computed again, tile by tile; a key's sums
    /// run over queries in their order.
    ///
    /// @param out of the forward pass
    record AccumulateAttentionGrad(
            Tensor dq,
            Tensor dk,
            Tensor dv,
            Tensor dout,
            Tensor out,
            Tensor q,
            Tensor k,
            Tensor v,
            AttentionSpec spec)
            implements Op {
        public AccumulateAttentionGrad {
            require(
                    dq.like(q)
                            && dk.like(k)
                            && dv.like(v)
                            && dout.like(q)
                            && out.like(q)
                            && k.like(v)
                            && q.cols() == (long) spec.heads() * spec.headDim()
                            && k.is(q.rows(), (long) spec.kvHeads() * spec.headDim())
                            && q.rows() % spec.length() == 0
                            && f32(q, k),
                    "accumulateAttentionGrad",
                    dq,
                    dk,
                    dv,
                    dout,
                    out,
                    q,
                    k,
                    v);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dq, dk, dv, dout, out, q, k, v);
        }
    }

    /// `dx += dout * activation'(x)`
    record AccumulateActivateGrad(Tensor dx, Tensor dout, Tensor x, Activation activation)
            implements Op {
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
            implements Op {
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
            implements Op {
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

    /// The gradient of [Route] with respect to the router's scores, by the softmax over all experts
    /// and, where asked, the division by the sum of the chosen; the choice itself has none.
    ///
    /// @param experts, weights as [Route] wrote them
    record AccumulateRouteGrad(
            Tensor dlogits,
            Tensor dweights,
            Tensor experts,
            Tensor weights,
            Tensor logits,
            boolean renormalise)
            implements Op {
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
                    logits);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dlogits, dweights, experts, weights, logits);
        }
    }

    // ---------------------------------------------------------------- training

    /// Losses of each row of a student's logits against a teacher's, or against the token that came
    /// next, and the gradient of their weighted sum.
    ///
    /// With `p = softmax(teacher / T)`, `q = softmax(student / T)` and `m = beta p + (1 - beta) q`:
    /// `kl = sum p log(p/q)`, `reverse = sum q log(q/p)`, `jsd = beta sum p log(p/m) + (1 - beta)
    /// sum q log(q/m)`, each with its gradient times `T^2` (Hinton et al., 2015, arXiv 1503.02531;
    /// Agarwal et al., 2023, arXiv 2306.13649); `ce = -log softmax(student)[target]`.
    ///
    /// @param dlogits F32 `[rows, vocabulary]`: `scale` times the gradient of the weighted sum
    /// @param losses F64 `[rows, 4]`: kl, reverse, jsd, ce, without weights; 0 where the weight is
    ///   0
    /// @param teacher null where only `ce` counts
    /// @param targets I32 `[rows]`, below 0 for none
    record DistillLoss(
            Tensor dlogits,
            Tensor losses,
            Tensor student,
            Tensor teacher,
            Tensor targets,
            LossWeights weights,
            float scale)
            implements Op {
        public DistillLoss {
            require(
                    dlogits.like(student)
                            && f32(student)
                            && losses.is(student.rows(), 4)
                            && losses.dtype() == DType.F64
                            && (teacher == null ? !weights.asksTeacher() : teacher.like(student))
                            && targets.isVector(student.rows())
                            && targets.dtype() == DType.I32,
                    "distillLoss",
                    dlogits,
                    losses,
                    student,
                    teacher,
                    targets);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dlogits, losses, student, teacher, targets);
        }
    }

    /// The `k` largest log-probabilities of `softmax(logits / temperature)` of each row, and whose
    /// they are: in falling order of the logits, the lower id first where two are equal.
    ///
    /// @param values F32 `[rows, k]`
    /// @param ids I32 `[rows, k]`
    /// @param logits F32 `[rows, vocabulary]`
    record TopLogProbabilities(Tensor values, Tensor ids, Tensor logits, float temperature)
            implements Op {
        public TopLogProbabilities {
            require(
                    values.shape().equals(ids.shape())
                            && ids.dtype() == DType.I32
                            && values.rows() == logits.rows()
                            && values.cols() <= logits.cols()
                            && f32(values, logits)
                            && temperature > 0,
                    "topLogProbabilities",
                    values,
                    ids,
                    logits);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(values, ids, logits);
        }
    }

    /// What becomes of the probability that a teacher gives to the tokens outside of its top k.
    enum Missing {
        /// All other tokens together are one outcome more, for teacher and student.
        REST,
        /// The teacher gives it to its top k, in proportion: the others get nothing.
        ZERO
    }

    /// As [DistillLoss], against the top k of a teacher.
    ///
    /// The outcomes are the k tokens and, as one more, the rest: the student's probability of it is
    /// the sum of its tokens' own; the teacher's is `1 - sum of the top k`, at least 2^-24, at most
    /// as much as if every token of the rest were as likely as the least of the top k, and 0 where
    /// `missing` is `ZERO`. The teacher's outcomes are then normalised, and the losses are those of
    /// [DistillLoss] between two distributions over k + 1 outcomes. By the log-sum inequality none
    /// of them is above the dense one, but for the rounding of that difference; for `kl` the
    /// difference is the teacher's rest times `KL(teacher in the rest, student in the rest)`. The
    /// gradient of the rest's logit goes to its tokens in proportion to the student's
    /// probabilities.
    ///
    /// @param dlogits F32 `[rows, vocabulary]`: `scale` times the gradient of the weighted sum
    /// @param losses F64 `[rows, 4]`: kl, reverse, jsd, ce, without weights; 0 where the weight is
    ///   0
    /// @param ids I32 `[rows, k]`, all different in a row
    /// @param teacher F32 `[rows, k]`: log-probabilities at `weights.temperature()`, falling
    /// @param targets I32 `[rows]`, below 0 for none
    record DistillTopLoss(
            Tensor dlogits,
            Tensor losses,
            Tensor student,
            Tensor ids,
            Tensor teacher,
            Tensor targets,
            LossWeights weights,
            Missing missing,
            float scale)
            implements Op {
        public DistillTopLoss {
            require(
                    dlogits.like(student)
                            && f32(student, teacher)
                            && losses.is(student.rows(), 4)
                            && losses.dtype() == DType.F64
                            && ids.dtype() == DType.I32
                            && ids.shape().equals(teacher.shape())
                            && ids.rows() == student.rows()
                            && ids.cols() <= student.cols()
                            && targets.isVector(student.rows())
                            && targets.dtype() == DType.I32,
                    "distillTopLoss",
                    dlogits,
                    losses,
                    student,
                    ids,
                    teacher,
                    targets);
            if (missing == Missing.ZERO && weights.reverse() != 0) {
                throw new IllegalArgumentException(
                        "the reverse KL from a teacher that gives nothing to most tokens is infinite");
            }
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(dlogits, losses, student, ids, teacher, targets);
        }
    }

    /// @param temperature of the first three losses
    /// @param beta of jsd: the teacher's part of the mixture
    record LossWeights(
            float kl, float reverse, float jsd, float ce, float temperature, float beta) {
        public LossWeights {
            if (!(temperature > 0) || !(beta > 0 && beta < 1)) {
                throw new IllegalArgumentException(
                        "temperature %s, beta %s".formatted(temperature, beta));
            }
        }

        public boolean asksTeacher() {
            return kl != 0 || reverse != 0 || jsd != 0;
        }
    }

    /// Distance of each row from a target row, and its gradient: `mse = mean (x - t)^2`, `cosine =
    /// 1
    /// - x t / (|x| |t|)`.
    ///
    /// @param dx accumulates `scale` times the gradient; null where nobody learns
    /// @param losses F64 `[rows]`
    record AccumulateHiddenLoss(
            Tensor dx, Tensor losses, Tensor x, Tensor target, Distance distance, float scale)
            implements Op {
        public AccumulateHiddenLoss {
            require(
                    (dx == null || dx.like(x))
                            && x.like(target)
                            && f32(x)
                            && losses.isVector(x.rows())
                            && losses.dtype() == DType.F64,
                    "hiddenLoss",
                    dx,
                    losses,
                    x,
                    target);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dx, losses, x, target);
        }
    }

    /// How far two rows are from each other.
    enum Distance {
        MSE,
        COSINE
    }

    /// How far the attention of each row is from a teacher's: `KL(teacher, student)` of its
    /// probabilities over the keys, head by head.
    ///
    /// @param dq and dk accumulate `scale` times the gradient of the sum over heads; null where
    ///   nobody learns
    /// @param losses F64 `[rows, heads]`
    /// @param teacher as many heads over sequences of the same length, which see as far back
    record AccumulateAttentionLoss(
            Tensor dq, Tensor dk, Tensor losses, Scores student, Scores teacher, float scale)
            implements Op {
        public AccumulateAttentionLoss {
            require(
                    (dq == null) == (dk == null)
                            && (dq == null || dq.like(student.q()) && dk.like(student.k()))
                            && losses.is(student.q().rows(), student.spec().heads())
                            && losses.dtype() == DType.F64
                            && student.spec().heads() == teacher.spec().heads()
                            && student.spec().length() == teacher.spec().length()
                            && student.spec().window() == teacher.spec().window()
                            && student.q().rows() == teacher.q().rows(),
                    "attentionLoss",
                    dq,
                    dk,
                    losses,
                    student.q(),
                    student.k(),
                    teacher.q(),
                    teacher.k());
        }

        @Override
        public Stream<Tensor> operands() {
            return some(dq, dk, losses, student.q(), student.k(), teacher.q(), teacher.k());
        }
    }

    /// What attention probabilities are made of, as in [Attention].
    record Scores(Tensor q, Tensor k, AttentionSpec spec) {
        public Scores {
            require(
                    q.cols() == (long) spec.heads() * spec.headDim()
                            && k.is(q.rows(), (long) spec.kvHeads() * spec.headDim())
                            && q.rows() % spec.length() == 0
                            && f32(q, k),
                    "scores",
                    q,
                    k);
        }
    }

    /// One step of Adam with decoupled weight decay (Loshchilov and Hutter, 2017, arXiv
    /// 1711.05101).
    ///
    /// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, `w -= rate ((m / (1 - b1^t)) / (sqrt(v /
    /// (1 - b2^t)) + eps) + decay w)`, g times `gradientScale`.
    ///
    /// @param w F32, accumulates, as m and v do
    record AccumulateAdamW(Tensor w, Tensor m, Tensor v, Tensor g, AdamSpec spec) implements Op {
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
    record AccumulateAdamW8(Tensor w, Moment m, Moment v, Tensor g, AdamSpec spec) implements Op {
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

    /// @param step t, from 1
    record AdamSpec(
            float rate,
            float beta1,
            float beta2,
            float eps,
            float decay,
            int step,
            float gradientScale) {}

    // ---------------------------------------------------------------- evaluation

    /// `out[t] = -log softmax(logits[t,:])[targets[t]]`, the sum in F64; targets I32 `[tokens]`.
    record NegativeLogLikelihood(Tensor out, Tensor logits, Tensor targets) implements Op {
        public NegativeLogLikelihood {
            require(
                    out.isVector(logits.rows())
                            && targets.isVector(logits.rows())
                            && targets.dtype() == DType.I32
                            && f32(out, logits),
                    "negativeLogLikelihood",
                    out,
                    logits,
                    targets);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, logits, targets);
        }
    }

    /// `out[t] = sum_v p[t,v] (log p[t,v] - log q[t,v])` of the softmaxes of two rows of logits, in
    /// F64.
    record Divergence(Tensor out, Tensor pLogits, Tensor qLogits) implements Op {
        public Divergence {
            require(
                    out.isVector(pLogits.rows()) && pLogits.like(qLogits) && f32(out, pLogits),
                    "divergence",
                    out,
                    pLogits,
                    qLogits);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, pLogits, qLogits);
        }
    }

    /// `out[t]` = the column of the largest value of a row, the first of equals; out I32 `[rows]`.
    record ArgMax(Tensor out, Tensor x) implements Op {
        public ArgMax {
            require(out.isVector(x.rows()) && out.dtype() == DType.I32 && f32(x), "argMax", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    // ---------------------------------------------------------------- statistics and linear
    // algebra

    record Zero(Tensor out) implements Op {
        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out);
        }
    }

    /// `h[i,j] += scale * sum_t x[t,i] x[t,j]`: the Hessian of a layer's squared output error. Both
    /// triangles are written; rows of x are summed in their order.
    record AccumulateGram(Tensor h, Tensor x, float scale) implements Op {
        public AccumulateGram {
            require(h.is(x.cols(), x.cols()) && f32(h, x), "accumulateGram", h, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(h, x);
        }
    }

    /// `out[i,j] = h[order[i], order[j]]`; order I32 `[out.rows]`.
    record GatherSymmetric(Tensor out, Tensor h, Tensor order) implements Op {
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
    record GatherColumns(Tensor out, Tensor x, Tensor order) implements Op {
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
    record CholeskyInverse(Tensor u, Tensor status, Tensor h, float damp) implements Op {
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
    record QuadraticForm(Tensor out, Tensor e, Tensor h) implements Op {
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
    record Transpose(Tensor out, Tensor x) implements Op {
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
    record AccumulateColumnNorms(Tensor sum, Tensor x, int power) implements Op {
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

    /// `out[r] = sum_c x[r,c]^2`, in F64.
    ///
    /// @param out F64 `[rows]`
    record RowSquares(Tensor out, Tensor x) implements Op {
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
    record Diagonal(Tensor out, Tensor h) implements Op {
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

    // ---------------------------------------------------------------- pruning

    /// `mask[o,i] = 1` for the weights of columns `[from, to)` whose `|w[o,i]| * importance[i]` is
    /// smallest, as the rule counts them, a tie to the lower index; 0 for the others.
    ///
    /// @param mask U8 `[out, in]`
    /// @param w F32, F16 or BF16 `[out, in]`
    /// @param importance F32 `[in]`; null for all ones
    record ChooseMask(Tensor mask, Tensor w, Tensor importance, MaskRule rule, int from, int to)
            implements Op {
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

    /// `out[o]` = how many `|w[o,i]| * importance[i]` of a row are above the threshold.
    ///
    /// @param out F64 `[out]`
    /// @param importance F32 `[in]`
    record CountAbove(Tensor out, Tensor w, Tensor importance, float threshold) implements Op {
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
    record ApplyMask(Tensor out, Tensor w, Tensor mask) implements Op {
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

    // ---------------------------------------------------------------- quantization

    /// Chooses scale and zero point of the groups `[from, to)` of every row. The range is widened
    /// to hold 0; symmetric: `scale = 2 amax / (2^b - 1)`, zero the middle code; asymmetric: `scale
    /// = (max - min) / (2^b - 1)`, `zero = round(-min / scale)` clamped to `[minZero, 2^b - 1]`. A
    /// group of zeros gets the range [-1, 1]. The scale is rounded to the dtype of `scales` and
    /// used as rounded.
    ///
    /// With a search each of its factors shrinks the range, and the group keeps the one with the
    /// least `sum_i c_i |w_i - q_i|^norm`, the larger factor on a tie.
    ///
    /// @param scales F32, F16 or BF16 `[out, groups]`
    /// @param zeros U8 `[out, groups]`
    /// @param w F32, F16 or BF16 `[out, in]`
    /// @param importance c, F32 `[in]`; null for all ones
    /// @param search null for none
    record ChooseGrid(
            Tensor scales,
            Tensor zeros,
            Tensor w,
            Tensor importance,
            QuantSpec spec,
            int minZero,
            GridSearch search,
            int from,
            int to)
            implements Op {
        public ChooseGrid {
            long groups = spec.groups(w.cols());
            require(
                    scales.is(w.rows(), groups)
                            && zeros.is(w.rows(), groups)
                            && zeros.dtype() == DType.U8
                            && scales.dtype().isFloat()
                            && w.dtype().isFloat()
                            && (importance == null
                                    || (importance.isVector(w.cols()) && f32(importance)))
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

        @Override
        public Stream<Tensor> operands() {
            return some(scales, zeros, w, importance);
        }
    }

    /// A search of a group's range: factors `1 - k / grid` for k from 0 to `steps - 1`.
    ///
    /// @param norm exponent of each weight's error
    record GridSearch(int steps, int grid, float norm) {
        /// 1.0 to 0.6 in steps of 0.05, squared errors.
        public static final GridSearch DEFAULT = new GridSearch(9, 20, 2);

        public GridSearch {
            if (steps < 1 || grid < steps || !(norm > 0)) {
                throw new IllegalArgumentException(
                        "a search of %d steps of 1/%d with norm %s".formatted(steps, grid, norm));
            }
        }

        public float factor(int k) {
            return (float) (1 - k / (double) grid);
        }
    }

    /// `codes[o,i] = clamp(round(w[o,i] / scale) + zero, 0, 2^b - 1)`, half to even, with scale and
    /// zero of the group `i / groupLength`.
    ///
    /// @param codes U8 `[out, in]`
    /// @param squares F64 `[out, 2]`: the row's squared error, then its squared norm, in F64; null
    ///   for none
    /// @param w F32, F16 or BF16 `[out, in]`
    record RoundToGrid(
            Tensor codes, Tensor squares, Tensor w, Tensor scales, Tensor zeros, QuantSpec spec)
            implements Op {
        public RoundToGrid {
            require(
                    codes.dtype() == DType.U8
                            && codes.is(w.rows(), w.cols())
                            && scales.is(w.rows(), spec.groups(w.cols()))
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
            implements Op {
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
                                    : Stream.of(grid.codes, grid.scales, grid.zeros, grid.groupOf),
                            pruning == null ? Stream.<Tensor>empty() : Stream.of(pruning.mask))
                    .flatMap(s -> s);
        }

        /// @param codes U8 `[out, in]`, the block's columns are written; a pruned weight gets its
        ///   zero point
        /// @param scales F32, F16 or BF16 `[out, groups]`
        /// @param zeros U8 `[out, groups]`
        /// @param groupOf I32 `[in]`
        public record Grid(
                Tensor codes, Tensor scales, Tensor zeros, Tensor groupOf, QuantSpec spec) {
            boolean fits(Tensor w) {
                return Op.grid(codes, w, scales, zeros, groupOf);
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
    record AccumulateObsSpread(Tensor w, Tensor errors, Tensor u, int from, int to) implements Op {
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

    /// `out[o,i]` = the code `codes[o,i]` in the bit stream of row o.
    ///
    /// @param out I32 `[out, words]`
    /// @param codes U8 `[out, in]`
    record PackCodes(Tensor out, Tensor codes, int bits) implements Op {
        public PackCodes {
            require(
                    out.is(codes.rows(), Math.ceilDiv(codes.cols() * bits, 32L))
                            && out.dtype() == DType.I32
                            && codes.dtype() == DType.U8,
                    "packCodes",
                    out,
                    codes);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, codes);
        }
    }

    /// The dense values of any weight, F32 `[out, in]`: the reference that every packed product
    /// must agree with.
    record Dequantize(Tensor out, Weight w) implements Op {
        public Dequantize {
            require(out.is(w.outFeatures(), w.inFeatures()) && f32(out), "dequantize", out, w);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out), w.tensors());
        }
    }

    // ---------------------------------------------------------------- checks

    private static boolean grid(
            Tensor codes, Tensor w, Tensor scales, Tensor zeros, Tensor groupOf) {
        return codes.dtype() == DType.U8
                && codes.is(w.rows(), w.cols())
                && scales.rows() == w.rows()
                && scales.shape().equals(zeros.shape())
                && zeros.dtype() == DType.U8
                && groupOf.isVector(w.cols())
                && groupOf.dtype() == DType.I32
                && w.dtype().isFloat();
    }

    private static boolean f32(Tensor... tensors) {
        return Arrays.stream(tensors).allMatch(t -> t.dtype() == DType.F32);
    }

    private static Stream<Tensor> some(Tensor... tensors) {
        return Arrays.stream(tensors).filter(Objects::nonNull);
    }

    private static void require(boolean ok, String op, Object... operands) {
        if (!ok) {
            throw new IllegalArgumentException(
                    op + ": shapes do not fit: " + Arrays.toString(operands));
        }
    }
}
