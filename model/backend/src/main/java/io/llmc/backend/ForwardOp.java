// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.Shapes.f32;
import static io.llmc.backend.Shapes.require;
import static io.llmc.backend.Shapes.some;

import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.stream.Stream;

/// What a forward pass computes; the tape has a rule for the gradient of each.
public sealed interface ForwardOp extends Op {
    /// `out[t,:] = scale * table[ids[t],:]`; ids I32 `[tokens]`.
    record Embed(Tensor out, Tensor ids, Tensor table, float scale) implements ForwardOp {
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
    record Matmul(Tensor out, Tensor x, Weight w) implements ForwardOp {
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
    record AddRow(Tensor out, Tensor x, Tensor row) implements ForwardOp {
        public AddRow {
            require(out.like(x) && row.isVector(x.cols()) && f32(x), "addRow", out, x, row);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x, row);
        }
    }

    /// `out = a + scale * b`; out may be a or b.
    record Add(Tensor out, Tensor a, Tensor b, float scale) implements ForwardOp {
        public Add {
            require(out.like(a) && a.like(b) && f32(a), "add", out, a, b);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, a, b);
        }
    }

    /// `out = a * b`, element by element; out may be a or b.
    record Multiply(Tensor out, Tensor a, Tensor b) implements ForwardOp {
        public Multiply {
            require(out.like(a) && a.like(b) && f32(a), "multiply", out, a, b);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, a, b);
        }
    }

    /// `out[t,c] = x[t,c] * (offset + row[c])`: a weight by channel.
    record MultiplyRow(Tensor out, Tensor x, Tensor row, float offset) implements ForwardOp {
        public MultiplyRow {
            require(out.like(x) && row.isVector(x.cols()) && f32(x), "multiplyRow", out, x, row);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x, row);
        }
    }

    /// `out = factor * x`, and `out = x` with other element types where they differ (F32, F16,
    /// BF16).
    record Scale(Tensor out, Tensor x, float factor) implements ForwardOp {
        public Scale {
            require(out.shape().equals(x.shape()), "scale", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `out = cap * tanh(x / cap)`
    record Softcap(Tensor out, Tensor x, float cap) implements ForwardOp {
        public Softcap {
            require(out.like(x) && f32(x) && cap > 0, "softcap", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `out = min(max(x, -most), most)`
    record Clip(Tensor out, Tensor x, float most) implements ForwardOp {
        public Clip {
            require(out.like(x) && f32(x) && most > 0, "clip", out, x);
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
    record RmsNorm(Tensor out, Tensor x, Tensor weight, float eps, float offset)
            implements ForwardOp {
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
    record LayerNorm(Tensor out, Tensor x, Tensor weight, Tensor bias, float eps)
            implements ForwardOp {
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
            implements ForwardOp {
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

    /// Causal attention within each sequence, grouped heads, in tiles: no matrix of all scores
    /// exists.
    ///
    /// `out[t,h,:] = sum_s softmax_s(cap(scale * q[t,h,:] . k[s,h',:]) + slopes[h] * (s - p))
    /// v[s,h',:]`, where `h' = h * kv / count` and query t stands at position p, over the keys that
    /// [AttentionSpec.Reach] lets it see.
    ///
    /// @param out `[queries, count * valueDim]`
    /// @param q `[queries, count * dim]`
    /// @param k `[keys, kv * dim]`, as many keys a sequence as `spec.reach()` says
    /// @param v `[keys, kv * valueDim]`
    /// @param sinks F32 `[count]`: a score beside the keys' that has no value (StreamingLLM, Xiao
    ///   et al., 2023, arXiv 2309.17453, as gpt-oss learns it); null for none
    /// @param slopes F32 `[count]` of ALiBi (Press et al., 2021, arXiv 2108.12409), which have no
    ///   gradient; null for none
    record Attention(
            Tensor out,
            Tensor q,
            Tensor k,
            Tensor v,
            Tensor sinks,
            Tensor slopes,
            AttentionSpec spec)
            implements ForwardOp {
        public Attention {
            AttentionSpec.Heads heads = spec.heads();
            long keys = q.rows() / spec.reach().length() * spec.reach().keys();
            require(
                    q.rows() % spec.reach().length() == 0
                            && q.cols() == heads.queryWidth()
                            && out.is(q.rows(), heads.outWidth())
                            && k.is(keys, heads.keyWidth())
                            && v.is(keys, heads.valueWidth())
                            && Shapes.each(heads, sinks)
                            && Shapes.each(heads, slopes)
                            && f32(out, q, k, v),
                    "attention",
                    out,
                    q,
                    k,
                    v,
                    sinks,
                    slopes,
                    spec);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(out, q, k, v, sinks, slopes);
        }
    }

    /// A gate's or MLP's nonlinearity.
    enum Activation {
        SILU,
        /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`
        GELU_TANH,
        GELU_ERF,
        RELU,
        SIGMOID,
        /// `max(0, x)^2` (Primer, So et al., 2021, arXiv 2109.08668)
        RELU_SQUARED
    }

    /// `out = activation(x)`
    record Activate(Tensor out, Tensor x, Activation activation) implements ForwardOp {
        public Activate {
            require(out.like(x) && f32(x), "activate", out, x);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// `out = activation(gate) * up`
    record Gated(Tensor out, Tensor gate, Tensor up, Activation activation) implements ForwardOp {
        public Gated {
            require(out.like(gate) && gate.like(up) && f32(up), "gated", out, gate, up);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, gate, up);
        }
    }

    /// `out = g sigmoid(alpha g) (u + shift)`, where `g = min(gate, limit)` and `u = clip(up,
    /// -limit, limit)`: SwiGLU (Shazeer, 2020, arXiv 2002.05202) with bounds, as gpt-oss (shift 1)
    /// and DeepSeek V4 (alpha 1, shift 0) have it.
    record ClampedSwiGlu(Tensor out, Tensor gate, Tensor up, Clamp clamp) implements ForwardOp {
        public ClampedSwiGlu {
            require(
                    out.like(gate) && gate.like(up) && f32(up),
                    "clampedSwiGlu",
                    out,
                    gate,
                    up,
                    clamp);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, gate, up);
        }
    }

    /// The numbers of [ClampedSwiGlu].
    record Clamp(float limit, float alpha, float shift) {
        public Clamp {
            if (!(limit > 0) || !Float.isFinite(alpha) || !Float.isFinite(shift)) {
                throw new IllegalArgumentException(
                        "no SwiGLU within %s, of %s and %s".formatted(limit, alpha, shift));
            }
        }
    }

    /// xIELU (Huang and Schlag, 2024, arXiv 2411.13010): `softplus(p) x^2 + beta x` for positive x,
    /// else `(beta + softplus(n)) (e^min(x, eps) - 1 - x) + beta x`.
    record Xielu(Tensor out, Tensor x, Curve curve) implements ForwardOp {
        public Xielu {
            require(out.like(x) && f32(x), "xielu", out, x, curve);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out, x), curve.tensors());
        }
    }

    /// The numbers of [Xielu], each a tensor of one; they have no gradients.
    record Curve(Tensor positive, Tensor negative, Tensor beta, Tensor eps) {
        public Curve {
            boolean numbers =
                    Stream.of(positive, negative, beta, eps).allMatch(t -> t.shape().size() == 1);
            require(numbers, "xielu", positive, negative, beta, eps);
        }

        Stream<Tensor> tensors() {
            return Stream.of(positive, negative, beta, eps);
        }
    }

    /// Square matrices of any numbers made such that rows and columns sum to about 1 (Sinkhorn and
    /// Knopp, 1967, as manifold-constrained hyper-connections have it: Xie et al., 2025, arXiv
    /// 2512.24880), in F64: the softmax of each row, plus eps, whose columns are divided by their
    /// sums plus eps; then, for each round behind the first, rows and columns likewise.
    ///
    /// @param out `[tokens, size * size]`: matrices row by row, as in x
    record Sinkhorn(Tensor out, Tensor x, Balance balance) implements ForwardOp {
        public Sinkhorn {
            long numbers = (long) balance.size() * balance.size();
            require(out.like(x) && f32(x) && x.cols() == numbers, "sinkhorn", out, x, balance);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out, x);
        }
    }

    /// How [Sinkhorn] balances.
    ///
    /// @param size rows and columns of a matrix
    /// @param rounds over columns
    record Balance(int size, int rounds, float eps) {
        public Balance {
            if (size < 1 || size > 64 || rounds < 1 || !(eps >= 0)) {
                throw new IllegalArgumentException(
                        "no matrices of %d rows, balanced %d times".formatted(size, rounds));
            }
        }

        /// Divisions by sums.
        public int steps() {
            return 2 * rounds - 1;
        }
    }

    /// A causal convolution of each channel by itself: `out[t,c] = bias[c] + sum_j weight[c,j] x[t
    /// - taps + 1 + j,c]`. Before a sequence's first row stand zeros.
    ///
    /// @param weight `[channels, taps]`: the last tap is the row's own
    /// @param bias `[channels]`, or null
    /// @param length rows of one sequence
    record Convolve(Tensor out, Tensor x, Tensor weight, Tensor bias, int length)
            implements ForwardOp {
        public Convolve {
            require(
                    out.like(x)
                            && f32(x)
                            && weight.shape().rank() == 2
                            && weight.rows() == x.cols()
                            && (bias == null || bias.isVector(x.cols()))
                            && x.rows() % length == 0,
                    "convolve",
                    out,
                    x,
                    weight,
                    bias,
                    length);
        }

        public int taps() {
            return Math.toIntExact(weight.cols());
        }

        @Override
        public Stream<Tensor> operands() {
            return some(out, x, weight, bias);
        }
    }

    /// `out = x[:, from : from + out.cols]`: takes a fused projection apart.
    record Columns(Tensor out, Tensor x, long from) implements ForwardOp {
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

    /// `out[:, from : from + x.cols] = x`; other columns stay: puts a row together of parts.
    record PutColumns(Tensor out, Tensor x, long from) implements ForwardOp {
        public PutColumns {
            require(
                    out.rows() == x.rows()
                            && from >= 0
                            && from + x.cols() <= out.cols()
                            && f32(out, x),
                    "putColumns",
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
    record GatherRows(Tensor out, Tensor x, Tensor rows) implements ForwardOp {
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
            implements ForwardOp {
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

    /// The experts of each token and their weights, as a [RouterSpec] says.
    ///
    /// @param experts I32 `[tokens, k]`
    /// @param weights F32 `[tokens, k]`
    /// @param bias `[experts]`; null for none. It has no gradient.
    record Route(Tensor experts, Tensor weights, Tensor logits, Tensor bias, RouterSpec spec)
            implements ForwardOp {
        public Route {
            require(
                    experts.dtype() == DType.I32
                            && experts.shape().equals(weights.shape())
                            && experts.rows() == logits.rows()
                            && spec.gives(experts.cols(), logits.cols())
                            && (bias == null || bias.isVector(logits.cols()))
                            && f32(weights, logits),
                    "route",
                    experts,
                    weights,
                    logits,
                    bias,
                    spec);
        }

        @Override
        public Stream<Tensor> operands() {
            return some(experts, weights, logits, bias);
        }
    }

    /// The weights of experts that are chosen already, as a [RouterSpec] says.
    ///
    /// @param weights F32 `[tokens, k]`
    /// @param experts I32 `[tokens, k]`, of each token different ones
    record WeighExperts(Tensor weights, Tensor experts, Tensor logits, RouterSpec spec)
            implements ForwardOp {
        public WeighExperts {
            require(
                    experts.dtype() == DType.I32
                            && experts.shape().equals(weights.shape())
                            && experts.rows() == logits.rows()
                            && spec.gives(experts.cols(), logits.cols())
                            && f32(weights, logits),
                    "weighExperts",
                    weights,
                    experts,
                    logits,
                    spec);
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.of(weights, experts, logits);
        }
    }

    /// The values that activations have after a trip through codes, in F32: `out = scale *
    /// nearest(x / scale)`, or `scale * (nearest(x / scale + zero) - zero)` where integers are
    /// asymmetric and count from `-2^(bits-1)`. The tape passes gradients straight through (Bengio
    /// et al.: Estimating or Propagating Gradients Through Stochastic Neurons, 2013).
    ///
    /// Where the scheme is dynamic, a row or a part of it has a scale of its own, made of its
    /// largest magnitude by [io.llmc.tensor.Encoding.Grid#scale]. Asymmetric: of the range that
    /// holds its numbers and 0, `scale = (max - min) / (2^bits - 1)` and `zero =
    /// nearest(-2^(bits-1) - min / scale)`.
    record RoundActivations(Tensor out, Tensor x, InputRounding rounding) implements ForwardOp {
        public RoundActivations {
            require(
                    out.like(x) && f32(x) && rounding.fits(x.cols()),
                    "roundActivations",
                    out,
                    x,
                    rounding.scale(),
                    rounding.zero(),
                    rounding.scheme());
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out, x), rounding.tensors());
        }
    }

    /// The product of the integers that [RoundActivations] makes of x and those of a weight with a
    /// scale a row: `out[t,o] = sum_i (q[t,i] - zero[t]) * c[o,i] * scale[o] * step[t]`, where x is
    /// about `step[t] * (q[t,i] - zero[t])`. The sum is exact, the factors follow in this order in
    /// F32: every device has the same bits. A row with NaN is NaN. The tape passes gradients
    /// straight through the rounding.
    record IntegerMatmul(Tensor out, Tensor x, InputRounding rounding, Weight.Grouped w)
            implements ForwardOp {
        /// Up to here no sum leaves 32 bits: 255 * 128 * 65,536 < 2^31.
        private static final long MOST_TERMS = 1 << 16;

        public IntegerMatmul {
            require(
                    takes(rounding, w)
                            && out.is(x.rows(), w.outFeatures())
                            && x.cols() == w.inFeatures()
                            && f32(out, x)
                            && rounding.fits(x.cols()),
                    "integerMatmul",
                    out,
                    x,
                    rounding,
                    w);
        }

        /// Whether both are 8-bit integers, of which all that a sum adds up share one scale.
        public static boolean takes(InputRounding rounding, Weight.Grouped w) {
            ActivationScheme inputs = rounding.scheme();
            return inputs.codes() instanceof Codes.Ints q
                    && q.bits() == 8
                    && inputs.tiles().across(w.inFeatures()) == 1
                    && w.grid().codes().equals(new Codes.Ints(8, true))
                    && w.scales().cols() == 1
                    && w.inFeatures() <= MOST_TERMS;
        }

        @Override
        public Stream<Tensor> operands() {
            return Stream.concat(Stream.of(out, x), Stream.concat(rounding.tensors(), w.tensors()));
        }
    }

    // algebra

    record Zero(Tensor out) implements ForwardOp {
        @Override
        public Stream<Tensor> operands() {
            return Stream.of(out);
        }
    }
}
