// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.HostBuffer;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/// The oracle: every operation as naive loops in double precision, over tensors in host memory.
/// Only what is defined in F32 (grids, codes, GPTQ's column loop) is computed in F32.
public final class ReferenceOps implements Runner {
    @Override
    public void run(Op op) {
        switch (op) {
            case ForwardOp.Embed(var out, var ids, var table, float scale) -> {
                for (long t = 0; t < out.rows(); t++) {
                    for (long c = 0; c < out.cols(); c++) {
                        set(out, t, c, scale * get(table, (long) get(ids, t), c));
                    }
                }
            }
            case ForwardOp.Matmul(var out, var x, var w) -> {
                double[] dense = dense(w);
                int in = (int) x.cols();
                for (long t = 0; t < out.rows(); t++) {
                    for (int o = 0; o < out.cols(); o++) {
                        double sum = 0;
                        for (int i = 0; i < in; i++) {
                            sum += get(x, t, i) * dense[o * in + i];
                        }
                        set(out, t, o, sum);
                    }
                }
            }
            case ForwardOp.RoundActivations round -> roundActivations(round);
            case ForwardOp.IntegerMatmul product -> integerMatmul(product);
            case ForwardOp.AddRow(var out, var x, var row) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, get(x, i) + get(row, i % x.cols()));
                }
            }
            case ForwardOp.Multiply(var out, var a, var b) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, get(a, i) * get(b, i));
                }
            }
            case ForwardOp.MultiplyRow(var out, var x, var row, float offset) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, get(x, i) * (offset + get(row, i % x.cols())));
                }
            }
            case ForwardOp.Add(var out, var a, var b, float scale) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, get(a, i) + scale * get(b, i));
                }
            }
            case ForwardOp.Scale(var out, var x, float factor) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, (float) (factor * get(x, i)));
                }
            }
            case ForwardOp.Softcap(var out, var x, float cap) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, cap * Math.tanh(get(x, i) / cap));
                }
            }
            case ForwardOp.Clip(var out, var x, float most) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, Math.min(Math.max(get(x, i), -most), most));
                }
            }
            case ForwardOp.RmsNorm(var out, var x, var weight, float eps, float offset) -> {
                for (long t = 0; t < x.rows(); t++) {
                    double squares = 0;
                    for (long c = 0; c < x.cols(); c++) {
                        squares += get(x, t, c) * get(x, t, c);
                    }
                    double root = Math.sqrt(squares / x.cols() + eps);
                    for (long c = 0; c < x.cols(); c++) {
                        double w = weight == null ? 1 : offset + get(weight, c);
                        set(out, t, c, get(x, t, c) / root * w);
                    }
                }
            }
            case ForwardOp.LayerNorm(var out, var x, var weight, var bias, float eps) ->
                    layerNorm(out, x, weight, bias, eps);
            case ForwardOp.Rope(
                            var out,
                            var x,
                            var cosSin,
                            int dim,
                            int length,
                            boolean interleaved) ->
                    rope(out, x, cosSin, dim, length, interleaved);
            case ForwardOp.Attention forward -> ReferenceAttention.forward(forward);
            case CacheOp cache -> ReferencePages.run(cache);
            case ForwardOp.Activate(var out, var x, var activation) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, activate(get(x, i), activation));
                }
            }
            case ForwardOp.Gated(var out, var gate, var up, var activation) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, activate(get(gate, i), activation) * get(up, i));
                }
            }
            case ForwardOp.ClampedSwiGlu(var out, var gate, var up, var clamp) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, clampedSwiGlu(get(gate, i), get(up, i), clamp));
                }
            }
            case ForwardOp.Xielu(var out, var x, var curve) -> {
                for (long i = 0; i < size(out); i++) {
                    set(out, i, xielu(get(x, i), curve));
                }
            }
            case ForwardOp.WeighExperts weigh -> ReferenceRouter.weigh(weigh);
            case ForwardOp.Sinkhorn balance -> SinkhornCases.run(balance);
            case ForwardOp.Convolve convolution -> ReferenceRecurrences.convolve(convolution);
            case CompressedOp compressed -> CompressedCases.run(compressed);
            case SparseOp choice -> SparseCases.run(choice);
            case RecurrentOp recurrence -> ReferenceRecurrences.run(recurrence);
            case ForwardOp.Columns(var out, var x, long from) -> {
                for (long r = 0; r < out.rows(); r++) {
                    for (long c = 0; c < out.cols(); c++) {
                        set(out, r, c, get(x, r, from + c));
                    }
                }
            }
            case ForwardOp.PutColumns(var out, var x, long from) -> {
                for (long r = 0; r < x.rows(); r++) {
                    for (long c = 0; c < x.cols(); c++) {
                        set(out, r, from + c, get(x, r, c));
                    }
                }
            }
            case ForwardOp.GatherRows(var out, var x, var rows) -> {
                for (long r = 0; r < out.rows(); r++) {
                    for (long c = 0; c < out.cols(); c++) {
                        set(out, r, c, get(x, (long) get(rows, r), c));
                    }
                }
            }
            case LossOp.DistillLoss loss -> ReferenceGradients.distillLoss(loss);
            case LossOp.AccumulateHiddenLoss loss -> ReferenceGradients.hiddenLoss(loss);
            case LossOp.AccumulateAttentionLoss loss -> ReferenceAttention.loss(loss);
            case LossOp.DistillTopLoss loss -> ReferenceTops.loss(loss);
            case LossOp.TopLogProbabilities top -> ReferenceTops.logProbabilities(top);
            case OptimizerOp.AccumulateAdamW(var w, var m, var v, var g, var spec) ->
                    ReferenceGradients.adamW(w, m, v, g, spec);
            case OptimizerOp.AccumulateAdamW8 step -> ReferenceAdamW8.run(step);
            case OptimizerOp.AccumulateSignStep step -> signStep(step);
            case GradientOp.AccumulateMatmulInput(var dx, var dout, var w) ->
                    ReferenceGradients.matmulInput(dx, dout, dense(w));
            case GradientOp.AccumulateOuter(var dw, var dout, var x) ->
                    ReferenceGradients.outer(dw, dout, x);
            case GradientOp.AccumulateScales(var dscales, var dvalues, var w) -> {
                for (long o = 0; o < w.outFeatures(); o++) {
                    double[] sums = new double[(int) dscales.cols()];
                    for (int i = 0; i < w.inFeatures(); i++) {
                        sums[(int) group(w, i)] +=
                                get(dvalues, o, i)
                                        * (code(w, o, i) - get(w.zeros(), o, group(w, i)));
                    }
                    for (int g = 0; g < sums.length; g++) {
                        set(dscales, o, g, get(dscales, o, g) + sums[g]);
                    }
                }
            }
            case GradientOp.AccumulateScaled(var sum, var x, float factor) ->
                    ReferenceGradients.scaled(sum, x, factor);
            case GradientOp.AccumulateColumnSums(var sum, var x) ->
                    ReferenceGradients.columnSums(sum, x);
            case GradientOp.AccumulateConvolveGrad grad -> ReferenceRecurrences.gradient(grad);
            case GradientOp.AccumulateColumns(var dx, var dout, long from) ->
                    ReferenceGradients.columns(dx, dout, from);
            case GradientOp.AccumulateClipGrad(var dx, var dout, var out, float most) -> {
                for (long i = 0; i < size(dx); i++) {
                    if (Math.abs(get(out, i)) < most) {
                        set(dx, i, get(dx, i) + get(dout, i));
                    }
                }
            }
            case GradientOp.AccumulateSoftcapGrad(var dx, var dout, var out, float cap) ->
                    ReferenceGradients.softcap(dx, dout, out, cap);
            case GradientOp.AccumulateRmsNormGrad norm -> ReferenceGradients.rmsNorm(norm);
            case GradientOp.AccumulateLayerNormGrad norm -> ReferenceGradients.layerNorm(norm);
            case GradientOp.AccumulateRopeGrad(
                            var dx,
                            var dout,
                            var cosSin,
                            int dim,
                            int length,
                            boolean interleaved) ->
                    ReferenceGradients.rope(dx, dout, cosSin, dim, length, interleaved);
            case GradientOp.AccumulateAttentionGrad grad -> ReferenceAttention.gradient(grad);
            case GradientOp.AccumulateActivateGrad(var dx, var dout, var x, var activation) ->
                    ReferenceGradients.activate(dx, dout, x, activation);
            case GradientOp.AccumulateGatedGrad grad -> ReferenceGradients.gated(grad);
            case GradientOp.AccumulateClampedSwiGluGrad grad ->
                    ReferenceGradients.clampedSwiGlu(grad);
            case GradientOp.AccumulateXieluGrad grad -> ReferenceGradients.xielu(grad);
            case GradientOp.AccumulateCompressGrad grad -> CompressedCases.run(grad);
            case GradientOp.AccumulateCompressedAttentionGrad grad -> CompressedCases.run(grad);
            case GradientOp.AccumulateSinkhornGrad grad -> SinkhornCases.run(grad);
            case GradientOp.AccumulateRowsGrad grad -> ReferenceGradients.rows(grad);
            case GradientOp.AccumulateRouteGrad grad -> ReferenceRouter.gradient(grad);
            case ForwardOp.AccumulateRows(var sum, var x, var rows, var weights, float factor) -> {
                for (long c = 0; c < x.cols(); c++) {
                    double[] sums = new double[(int) sum.rows()];
                    for (int r = 0; r < sums.length; r++) {
                        sums[r] = get(sum, r, c);
                    }
                    for (long r = 0; r < x.rows(); r++) {
                        double w = weights == null ? 1 : get(weights, r);
                        sums[(int) get(rows, r)] += factor * w * get(x, r, c);
                    }
                    for (int r = 0; r < sums.length; r++) {
                        set(sum, r, c, sums[r]);
                    }
                }
            }
            case ForwardOp.Route route -> ReferenceRouter.route(route);
            case LossOp.NegativeLogLikelihood(var out, var logits, var targets) -> {
                for (long t = 0; t < logits.rows(); t++) {
                    set(out, t, -logSoftmax(logits, t)[(int) get(targets, t)]);
                }
            }
            case LossOp.Divergence(var out, var p, var q) -> {
                for (long t = 0; t < p.rows(); t++) {
                    double[] logP = logSoftmax(p, t);
                    double[] logQ = logSoftmax(q, t);
                    double sum = 0;
                    for (int v = 0; v < logP.length; v++) {
                        sum += Math.exp(logP[v]) * (logP[v] - logQ[v]);
                    }
                    set(out, t, sum);
                }
            }
            case LossOp.ArgMax(var out, var x) -> {
                for (long t = 0; t < x.rows(); t++) {
                    long best = 0;
                    for (long c = 1; c < x.cols(); c++) {
                        if (get(x, t, c) > get(x, t, best)) {
                            best = c;
                        }
                    }
                    set(out, t, best);
                }
            }
            case ForwardOp.Zero(var out) -> out.bytes().fill((byte) 0);
            case StatisticOp.AccumulateGram(var h, var x, float scale) -> {
                for (long i = 0; i < h.rows(); i++) {
                    for (long j = 0; j < h.rows(); j++) {
                        double sum = 0;
                        for (long t = 0; t < x.rows(); t++) {
                            sum += get(x, t, i) * get(x, t, j);
                        }
                        set(h, i, j, get(h, i, j) + scale * sum);
                    }
                }
            }
            case StatisticOp.ShrinkCorrelations(var out, var h, float factor) -> {
                for (long i = 0; i < h.rows(); i++) {
                    for (long j = 0; j < h.rows(); j++) {
                        set(out, i, j, (i == j ? 1 : factor) * get(h, i, j));
                    }
                }
            }
            case StatisticOp.Diagonal(var out, var h) -> {
                for (long i = 0; i < h.rows(); i++) {
                    set(out, i, get(h, i, i));
                }
            }
            case StatisticOp.GatherSymmetric(var out, var h, var order) -> {
                for (long i = 0; i < out.rows(); i++) {
                    for (long j = 0; j < out.rows(); j++) {
                        set(out, i, j, get(h, (long) get(order, i), (long) get(order, j)));
                    }
                }
            }
            case StatisticOp.GatherColumns(var out, var x, var order) -> {
                for (long i = 0; i < out.rows(); i++) {
                    for (long j = 0; j < out.cols(); j++) {
                        set(out, i, j, get(x, i, (long) get(order, j)));
                    }
                }
            }
            case StatisticOp.CholeskyInverse(var u, var status, var h, float damp) ->
                    choleskyInverse(u, status, h, damp);
            case StatisticOp.QuadraticForm(var out, var e, var h) -> {
                for (long r = 0; r < e.rows(); r++) {
                    double sum = 0;
                    for (long i = 0; i < e.cols(); i++) {
                        for (long j = 0; j < e.cols(); j++) {
                            sum += get(e, r, i) * get(h, i, j) * get(e, r, j);
                        }
                    }
                    set(out, r, sum);
                }
            }
            case CompressionOp.ChooseGrid grid -> chooseGrid(grid);
            case CompressionOp.RoundToGrid(
                            var codes,
                            var squares,
                            var w,
                            var scales,
                            var zeros,
                            var spec) -> {
                for (long r = 0; r < w.rows(); r++) {
                    double error = 0;
                    double norm = 0;
                    for (long c = 0; c < w.cols(); c++) {
                        long g = c / spec.tiles().width(w.cols());
                        float scale = (float) get(scales, r, g);
                        double code = code(get(w, r, c), scale, get(zeros, r, g), spec);
                        set(codes, r, c, code);
                        double d =
                                get(w, r, c)
                                        - round(
                                                (float) (code - get(zeros, r, g)) * scale,
                                                scales.dtype());
                        error += d * d;
                        norm += get(w, r, c) * get(w, r, c);
                    }
                    if (squares != null) {
                        set(squares, r, 0, error);
                        set(squares, r, 1, norm);
                    }
                }
            }
            case StatisticOp.Transpose(var out, var x) -> {
                for (long i = 0; i < out.rows(); i++) {
                    for (long j = 0; j < out.cols(); j++) {
                        set(out, i, j, get(x, j, i));
                    }
                }
            }
            case StatisticOp.AccumulateColumnNorms(var sum, var x, int power) -> {
                for (long c = 0; c < x.cols(); c++) {
                    double total = get(sum, c);
                    for (long r = 0; r < x.rows(); r++) {
                        total += Math.pow(Math.abs(get(x, r, c)), power);
                    }
                    set(sum, c, total);
                }
            }
            case StatisticOp.AccumulateColumnMaxima(var most, var x) -> {
                for (long c = 0; c < x.cols(); c++) {
                    for (long r = 0; r < x.rows(); r++) {
                        set(most, c, Math.max(get(most, c), Math.abs(get(x, r, c))));
                    }
                }
            }
            case StatisticOp.RowSquares(var out, var x) -> {
                for (long r = 0; r < x.rows(); r++) {
                    double total = 0;
                    for (long c = 0; c < x.cols(); c++) {
                        total += get(x, r, c) * get(x, r, c);
                    }
                    set(out, r, total);
                }
            }
            case CompressionOp.ChooseMask mask -> chooseMask(mask);
            case StatisticOp.CountAbove(var out, var w, var importance, float threshold) -> {
                for (long r = 0; r < w.rows(); r++) {
                    int above = 0;
                    for (long c = 0; c < w.cols(); c++) {
                        float score = (float) Math.abs(get(w, r, c)) * (float) get(importance, c);
                        above += score > threshold ? 1 : 0;
                    }
                    set(out, r, above);
                }
            }
            case CompressionOp.ApplyMask(var out, var w, var mask) -> {
                for (long i = 0; i < size(w); i++) {
                    set(out, i, get(mask, i) != 0 ? 0 : get(w, i));
                }
            }
            case CompressionOp.ScaleColumns(var out, var w, var factors) -> {
                for (long i = 0; i < size(w); i++) {
                    set(out, i, get(factors, i % w.cols()) * get(w, i));
                }
            }
            case CompressionOp.Clamp(var out, var w, var limits) -> {
                long width = w.cols() / limits.cols();
                for (long i = 0; i < size(w); i++) {
                    double limit = get(limits, i / width);
                    set(out, i, Math.clamp(get(w, i), -limit, limit));
                }
            }
            case CompressionOp.AccumulateObsBlock block -> obsBlock(block);
            case CompressionOp.AccumulateObsSpread(var w, var errors, var u, int from, int to) -> {
                for (long r = 0; r < w.rows(); r++) {
                    for (long c = to; c < w.cols(); c++) {
                        double sum = 0;
                        for (int j = from; j < to; j++) {
                            sum += get(errors, r, j - from) * get(u, j, c);
                        }
                        set(w, r, c, get(w, r, c) - sum);
                    }
                }
            }
            case CompressionOp.AccumulateDescent step -> ReferenceDescent.run(step);
            case CompressionOp.PackCodes(var out, var codes, int bits) -> {
                out.bytes().fill((byte) 0);
                for (long i = 0; out.dtype() == DType.U8 && i < size(codes); i++) {
                    set(out, i / 2, get(out, i / 2) + get(codes, i) * (i % 2 == 0 ? 1 : 16));
                }
                for (long r = 0; out.dtype() == DType.I32 && r < codes.rows(); r++) {
                    for (long i = 0; i < codes.cols() * bits; i++) {
                        long bit = (long) get(codes, r, i / bits) >> (i % bits) & 1;
                        long word = (long) get(out, r, i / 32) | bit << (i % 32);
                        set(out, r, i / 32, (int) word);
                    }
                }
            }
            case SmallFloatOp small -> ReferenceSmallFloats.run(small);
            case CompressionOp.Dequantize(var out, var w) -> {
                double[] dense = dense(w);
                for (int i = 0; i < dense.length; i++) {
                    set(out, i, dense[i]);
                }
            }
        }
    }

    private static void layerNorm(Tensor out, Tensor x, Tensor weight, Tensor bias, float eps) {
        for (long t = 0; t < x.rows(); t++) {
            double mean = 0;
            for (long c = 0; c < x.cols(); c++) {
                mean += get(x, t, c) / x.cols();
            }
            double variance = 0;
            for (long c = 0; c < x.cols(); c++) {
                variance += (get(x, t, c) - mean) * (get(x, t, c) - mean) / x.cols();
            }
            for (long c = 0; c < x.cols(); c++) {
                double w = weight == null ? 1 : get(weight, c);
                double b = bias == null ? 0 : get(bias, c);
                set(out, t, c, (get(x, t, c) - mean) / Math.sqrt(variance + eps) * w + b);
            }
        }
    }

    private static void rope(
            Tensor out, Tensor x, Tensor cosSin, int dim, int length, boolean interleaved) {
        long pairs = cosSin.cols() / 2;
        for (long t = 0; t < x.rows(); t++) {
            for (long h = 0; h < x.cols(); h += dim) {
                for (long c = 2 * pairs; c < dim; c++) {
                    set(out, t, h + c, get(x, t, h + c));
                }
                for (long k = 0; k < pairs; k++) {
                    long i = h + (interleaved ? 2 * k : k);
                    long j = h + (interleaved ? 2 * k + 1 : k + pairs);
                    double cos = get(cosSin, t % length, k);
                    double sin = get(cosSin, t % length, pairs + k);
                    set(out, t, i, get(x, t, i) * cos - get(x, t, j) * sin);
                    set(out, t, j, get(x, t, j) * cos + get(x, t, i) * sin);
                }
            }
        }
    }

    static double activate(double x, Activation activation) {
        return switch (activation) {
            case SILU -> x / (1 + Math.exp(-x));
            case GELU_TANH ->
                    0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
            case GELU_ERF -> x * normal(x);
            case RELU -> x < 0 ? 0 : x;
            case SIGMOID -> 1 / (1 + Math.exp(-x));
            case RELU_SQUARED -> x < 0 ? 0 : x * x;
        };
    }

    static double clampedSwiGlu(double gate, double up, ForwardOp.Clamp clamp) {
        double g = Math.min(gate, clamp.limit());
        double u = Math.max(-clamp.limit(), Math.min(clamp.limit(), up));
        return g / (1 + Math.exp(-clamp.alpha() * g)) * (u + clamp.shift());
    }

    static double xielu(double x, ForwardOp.Curve curve) {
        double beta = get(curve.beta(), 0);
        double square = Math.log1p(Math.exp(get(curve.positive(), 0)));
        double bend = beta + Math.log1p(Math.exp(get(curve.negative(), 0)));
        return x > 0
                ? square * x * x + beta * x
                : bend * (Math.expm1(Math.min(x, get(curve.eps(), 0))) - x) + beta * x;
    }

    private static void signStep(OptimizerOp.AccumulateSignStep op) {
        long length = op.spec().tiles().width(op.w().cols());
        for (long r = 0; r < op.w().rows(); r++) {
            for (long k = 0; k < op.scales().cols(); k++) {
                double scale = get(op.scales(), r, k);
                double zero = get(op.zeros(), r, k);
                double first = (-zero - 0.5) * scale;
                double last = (op.spec().codes().maxCode() - zero + 0.5) * scale;
                double rate = op.step().rate() * Math.abs(scale);
                double slope = 0;
                for (long i = k * length; i < Math.min(op.w().cols(), (k + 1) * length); i++) {
                    double g = get(op.g(), r, i);
                    slope += g * (get(op.codes(), r, i) - zero);
                    double moved = get(op.w(), r, i) - rate * Math.signum(g);
                    double within = Math.clamp(moved, Math.min(first, last), Math.max(first, last));
                    set(op.w(), r, i, within);
                    set(op.g(), r, i, op.step().momentum() * g);
                }
                double change = Math.abs(scale) * op.step().rangeRate();
                set(op.scales(), r, k, scale - change * Math.signum(slope));
            }
        }
    }

    private static long group(Weight.Grouped w, int i) {
        return w.groupIndex() == null
                ? i / w.grid().tiles().width(w.inFeatures())
                : (long) get(w.groupIndex(), i);
    }

    private static int code(Weight.Grouped w, long row, int i) {
        int bits = w.grid().codes().bits();
        int code = 0;
        for (int b = 0; b < bits; b++) {
            long at = (long) i * bits + b;
            code |= ((int) get(w.codes(), row, at / 32) >>> (at % 32) & 1) << b;
        }
        return code;
    }

    /// The normal distribution function, by Simpson's rule over its density.
    private static double normal(double x) {
        if (Double.isNaN(x)) {
            return x;
        }
        double end = Math.max(-9, Math.min(9, x));
        int steps = 2000;
        double h = end / steps;
        double sum = 0;
        for (int i = 0; i <= steps; i++) {
            double t = i * h;
            sum += (i == 0 || i == steps ? 1 : i % 2 == 1 ? 4 : 2) * Math.exp(-t * t / 2);
        }
        return 0.5 + sum * h / 3 / Math.sqrt(2 * Math.PI);
    }

    private static double[] logSoftmax(Tensor x, long row) {
        double max = Double.NEGATIVE_INFINITY;
        for (long c = 0; c < x.cols(); c++) {
            max = Math.max(max, get(x, row, c));
        }
        double sum = 0;
        for (long c = 0; c < x.cols(); c++) {
            sum += Math.exp(get(x, row, c) - max);
        }
        double[] y = new double[(int) x.cols()];
        for (int c = 0; c < y.length; c++) {
            y[c] = get(x, row, c) - max - Math.log(sum);
        }
        return y;
    }

    /// By the book: the inverse through its columns, then its upper factor.
    private static void choleskyInverse(Tensor u, Tensor status, Tensor h, float damp) {
        int n = (int) h.rows();
        double[][] l = new double[n][n];
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                l[i][j] = get(h, i, j) + (i == j ? damp : 0);
            }
        }
        int bad = factor(l);
        if (bad >= 0) {
            set(status, 0, 1 + bad);
            return;
        }
        double[][] inverse = new double[n][n];
        for (int c = 0; c < n; c++) {
            double[] y = new double[n];
            for (int i = c; i < n; i++) {
                double v = i == c ? 1 : 0;
                for (int k = c; k < i; k++) {
                    v -= l[i][k] * y[k];
                }
                y[i] = v / l[i][i];
            }
            for (int i = n - 1; i >= 0; i--) {
                double v = y[i];
                for (int k = i + 1; k < n; k++) {
                    v -= l[k][i] * inverse[k][c];
                }
                inverse[i][c] = v / l[i][i];
            }
        }
        factor(inverse);
        set(status, 0, 0);
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < n; j++) {
                set(u, i, j, j < i ? 0 : inverse[j][i]);
            }
        }
    }

    private static int factor(double[][] a) {
        for (int r = 0; r < a.length; r++) {
            for (int c = 0; c <= r; c++) {
                double v = a[r][c];
                for (int k = 0; k < c; k++) {
                    v -= a[r][k] * a[c][k];
                }
                if (c < r) {
                    a[r][c] = v / a[c][c];
                } else if (v > 0) {
                    a[r][r] = Math.sqrt(v);
                } else {
                    return r;
                }
            }
        }
        return -1;
    }

    private static void chooseGrid(CompressionOp.ChooseGrid op) {
        Encoding.Grid<Codes.Ints> spec = op.spec();
        Tensor w = op.w();
        long length = spec.tiles().width(w.cols());
        int max = spec.codes().maxCode();
        for (long r = 0; r < w.rows(); r++) {
            for (long g = op.from(); g < op.to(); g++) {
                float lo = 0;
                float hi = 0;
                long end = Math.min(w.cols(), (g + 1) * length);
                for (long c = g * length; c < end; c++) {
                    lo = Math.min(lo, (float) get(w, r, c));
                    hi = Math.max(hi, (float) get(w, r, c));
                }
                if (spec.codes().symmetric()) {
                    hi = Math.max(hi, -lo);
                    lo = -hi;
                }
                if (hi == lo) {
                    hi = 1;
                    lo = -1;
                }
                double least = Double.POSITIVE_INFINITY;
                for (int f = 0;
                        f < (op.search() == null ? 1 : op.search().trials(op.spec().codes()));
                        f++) {
                    float factor = op.search() == null ? 1 : op.search().factor(f);
                    float low = lo * factor;
                    float scale = round((hi * factor - low) / max, op.scales().dtype());
                    double zero =
                            spec.codes().symmetric()
                                    ? spec.codes().middleCode()
                                    : Math.clamp(Math.rint(-low / scale), op.minZero(), max);
                    double error = 0;
                    for (long c = g * length; op.search() != null && c < end; c++) {
                        double q = code(get(w, r, c), scale, zero, spec);
                        double value = round((float) (q - zero) * scale, op.scales().dtype());
                        double d = get(w, r, c) - value;
                        if (op.together()) {
                            for (long k = g * length; k < end; k++) {
                                double p = code(get(w, r, k), scale, zero, spec);
                                double other =
                                        round((float) (p - zero) * scale, op.scales().dtype());
                                double h = get(op.importance(), c, k - g * length);
                                error += d * h * (get(w, r, k) - other);
                            }
                            continue;
                        }
                        error +=
                                (op.importance() == null ? 1 : get(op.importance(), c))
                                        * Math.pow(Math.abs(d), op.search().norm());
                    }
                    if (error < least) {
                        least = error;
                        set(op.scales(), r, g, scale);
                        set(op.zeros(), r, g, zero);
                    }
                }
            }
        }
    }

    private static double code(double w, float scale, double zero, Encoding.Grid<Codes.Ints> spec) {
        return Math.clamp(Math.rint((float) w / scale) + zero, 0, spec.codes().maxCode());
    }

    /// Sorts everything that competes.
    private static void chooseMask(CompressionOp.ChooseMask op) {
        if (op.rule() instanceof CompressionOp.MaskRule.Zeros) {
            for (long r = 0; r < op.w().rows(); r++) {
                for (int c = op.from(); c < op.to(); c++) {
                    set(op.mask(), r, c, get(op.w(), r, c) == 0 ? 1 : 0);
                }
            }
            return;
        }
        long cols = op.w().cols();
        List<List<Long>> groups = new ArrayList<>();
        List<Long> all = new ArrayList<>();
        for (long r = 0; r < op.w().rows(); r++) {
            List<Long> row = new ArrayList<>();
            for (int c = op.from(); c < op.to(); c++) {
                if (op.rule() instanceof CompressionOp.MaskRule.NOfM(_, int m) && c % m == 0) {
                    row = new ArrayList<>();
                    groups.add(row);
                }
                row.add(r * cols + c);
                all.add(r * cols + c);
                set(op.mask(), r, c, 0);
            }
            if (op.rule() instanceof CompressionOp.MaskRule.EachRow) {
                groups.add(row);
            }
        }
        long zeros =
                switch (op.rule()) {
                    case CompressionOp.MaskRule.EachRow(int z) -> z;
                    case CompressionOp.MaskRule.NOfM(int n, int m) -> m - n;
                    case CompressionOp.MaskRule.Together(long z) -> {
                        groups.add(all);
                        yield z;
                    }
                    case CompressionOp.MaskRule.Zeros() -> 0;
                };
        for (List<Long> group : groups) {
            group.sort(
                    Comparator.comparingDouble((Long i) ->
                            (float) Math.abs(get(op.w(), i))
                                    * (op.importance() == null
                                            ? 1f
                                            : (float) get(op.importance(), i % cols))));
            for (int k = 0; k < zeros; k++) {
                set(op.mask(), group.get(k), 1);
            }
        }
    }

    private static void obsBlock(CompressionOp.AccumulateObsBlock op) {
        CompressionOp.AccumulateObsBlock.Grid grid = op.grid();
        CompressionOp.AccumulateObsBlock.Pruning pruning = op.pruning();
        for (long r = 0; r < op.w().rows(); r++) {
            for (int j = op.from(); j < op.to(); j++) {
                if (pruning != null && pruning.chosen() != null && j % pruning.chosen().m() == 0) {
                    chooseGroup(op, r, j);
                }
                float w = (float) get(op.w(), r, j);
                boolean pruned = pruning != null && get(pruning.mask(), r, j) != 0;
                float value = pruned ? 0 : w;
                if (grid != null) {
                    value =
                            grid.spec().codes() instanceof Codes.Ints ints
                                    ? obsInteger(grid, ints, r, j, w, pruned)
                                    : ReferenceSmallFloats.column(grid, r, j, pruned ? 0 : w);
                }
                float error = (w - value) / (float) get(op.u(), j, j);
                set(op.w(), r, j, value);
                set(op.errors(), r, j - op.from(), error);
                for (int k = j + 1; k < op.to(); k++) {
                    float u = (float) get(op.u(), j, k);
                    set(op.w(), r, k, Math.fma(-error, u, (float) get(op.w(), r, k)));
                }
            }
        }
    }

    private static float obsInteger(
            CompressionOp.AccumulateObsBlock.Grid grid,
            Codes.Ints ints,
            long r,
            int j,
            float w,
            boolean pruned) {
        long g = (long) get(grid.groupOf(), j);
        float scale = (float) get(grid.scales(), r, g);
        double zero = get(grid.zeros(), r, g);
        var spec = new Encoding.Grid<>(ints, grid.spec().tiles());
        double code = pruned ? zero : code(w, scale, zero, spec);
        set(grid.codes(), r, j, code);
        return round((float) (code - zero) * scale, grid.scales().dtype());
    }

    private static void chooseGroup(CompressionOp.AccumulateObsBlock op, long r, int from) {
        CompressionOp.MaskRule.NOfM rule = op.pruning().chosen();
        List<Integer> columns = new ArrayList<>();
        for (int j = from; j < from + rule.m(); j++) {
            columns.add(j);
            set(op.pruning().mask(), r, j, 0);
        }
        columns.sort(
                Comparator.comparingDouble((Integer j) -> {
                    float w = (float) get(op.w(), r, j);
                    float u = (float) get(op.u(), j, j);
                    return w * w / (u * u);
                }));
        for (int j : columns.subList(0, rule.m() - rule.n())) {
            set(op.pruning().mask(), r, j, 1);
        }
    }

    private static void roundActivations(ForwardOp.RoundActivations op) {
        ActivationScheme scheme = op.rounding().scheme();
        int width = (int) Math.min(op.x().cols(), scheme.tiles().width(op.x().cols()));
        for (long row = 0; row < size(op.x()); row += op.x().cols()) {
            for (int from = 0; from < op.x().cols(); from += width) {
                float[] x = new float[(int) Math.min(width, op.x().cols() - from)];
                for (int i = 0; i < x.length; i++) {
                    x[i] = (float) get(op.x(), row + from + i);
                }
                roundTile(x, op.rounding(), from / width);
                for (int i = 0; i < x.length; i++) {
                    set(op.out(), row + from + i, x[i]);
                }
            }
        }
    }

    private static void roundTile(float[] x, InputRounding rounding, int tile) {
        Steps steps = steps(x, rounding, tile);
        for (int i = 0; i < x.length; i++) {
            float q = x[i] / steps.scale;
            x[i] =
                    steps.scale
                            * switch (rounding.scheme().codes()) {
                                case Codes.Floats f -> ReferenceSmallFloats.nearest(q, f);
                                case Codes.Ints n ->
                                        nearestInt(q + steps.zero, n.bits()) - steps.zero;
                            };
        }
    }

    private record Steps(float scale, float zero) {}

    private static Steps steps(float[] x, InputRounding rounding, int tile) {
        Encoding.Grid<?> grid = rounding.scheme().grid();
        int at = rounding.scheme().dynamic() ? 0 : tile;
        float scale = rounding.scale() == null ? 1 : (float) get(rounding.scale(), at);
        float zero = rounding.zero() == null ? 0 : (float) get(rounding.zero(), 0);
        float low = 0;
        float high = 0;
        for (float v : x) {
            low = Math.min(low, v);
            high = Math.max(high, v);
        }
        if (rounding.scheme().dynamic()) {
            float most = Math.max(-low, high);
            if (grid.codes() instanceof Codes.Ints(int bits, boolean symmetric) && !symmetric) {
                scale = (high - low) / ((1 << bits) - 1);
                scale = scale == 0 ? 1 : scale;
                zero = nearestInt(-(1 << bits - 1) - low / scale, bits);
            } else {
                scale = ReferenceSmallFloats.scale(grid, most, DType.F32, scale);
                if (grid.scales() == ScaleKind.NESTED) {
                    scale /= (float) get(rounding.scale(), 0);
                }
            }
        }
        return new Steps(scale, zero);
    }

    /// Sums in 64 bits, and two factors in F32.
    private static void integerMatmul(ForwardOp.IntegerMatmul op) {
        int in = (int) op.x().cols();
        for (long t = 0; t < op.out().rows(); t++) {
            float[] x = new float[in];
            for (int i = 0; i < in; i++) {
                x[i] = (float) get(op.x(), t, i);
            }
            Steps steps = steps(x, op.rounding(), 0);
            float step = steps.scale;
            for (int i = 0; i < in; i++) {
                x[i] = nearestInt(x[i] / steps.scale + steps.zero, 8) - steps.zero;
                step = Float.isNaN(x[i]) ? Float.NaN : step;
            }
            for (long o = 0; o < op.out().cols(); o++) {
                long sum = 0;
                for (int i = 0; i < in; i++) {
                    int word = (int) get(op.w().codes(), o, i / 4);
                    sum += (long) x[i] * ((word >>> 8 * (i % 4) & 0xff) - 128);
                }
                float scale = (float) get(op.w().scales(), o);
                set(op.out(), t, o, sum * scale * step);
            }
        }
    }

    private static float nearestInt(float x, int bits) {
        float clamped = Math.max(-(1 << bits - 1), Math.min((1 << bits - 1) - 1, x));
        return (float) Math.rint(clamped);
    }

    private static double[] dense(Weight w) {
        int out = (int) w.outFeatures();
        int in = (int) w.inFeatures();
        double[] values = new double[out * in];
        switch (w) {
            case Weight.Dense(var t) -> {
                for (int i = 0; i < values.length; i++) {
                    values[i] = get(t, i);
                }
            }
            case Weight.Grouped g -> {
                for (int o = 0; o < out; o++) {
                    for (int i = 0; i < in; i++) {
                        long group = group(g, i);
                        float scale = (float) get(g.scales(), o, group);
                        float value = (float) (code(g, o, i) - get(g.zeros(), o, group)) * scale;
                        values[o * in + i] = round(value, g.scales().dtype());
                    }
                }
            }
            case Weight.Blocks b -> {
                long rowBytes = b.type().rowBytes(in);
                for (int i = 0; i < values.length; i++) {
                    long at = i / in * rowBytes + i % in / 32 * 34;
                    int half = (int) get(b.blocks(), at) | (int) get(b.blocks(), at + 1) << 8;
                    int code = (byte) get(b.blocks(), at + 2 + i % in % 32);
                    values[i] = Float.float16ToFloat((short) half) * code;
                }
            }
            case Weight.Scaled s -> {
                for (int o = 0; o < out; o++) {
                    for (int i = 0; i < in; i++) {
                        values[o * in + i] = ReferenceSmallFloats.value(s, o, i);
                    }
                }
            }
        }
        return values;
    }

    /// The nearest value of a float type, half to even, by comparing neighbours.
    static float round(float x, DType type) {
        return switch (type) {
            case F32 -> x;
            case F16 -> Float.float16ToFloat(Float.floatToFloat16(x));
            default -> {
                int bits = Float.floatToRawIntBits(x);
                float below = Float.intBitsToFloat(bits & 0xffff0000);
                float above = Float.intBitsToFloat((bits & 0xffff0000) + 0x10000);
                if (Float.isNaN(x) || below == x) {
                    yield x;
                }
                double left = Math.abs((double) x - below);
                double right = Math.abs((double) above - x);
                boolean even = (bits & 0x10000) == 0;
                yield left < right || left == right && even ? below : above;
            }
        };
    }

    static long size(Tensor t) {
        return t.shape().size();
    }

    static double get(Tensor t, long row, long column) {
        return get(t, row * t.cols() + column);
    }

    static double get(Tensor t, long i) {
        MemorySegment s = ((HostBuffer) t.buffer()).segment();
        if (t.dtype() == DType.F32) { // most of them, and many
            return s.get(ValueLayout.JAVA_FLOAT_UNALIGNED, t.byteOffset() + 4 * i);
        }
        s = t.bytes();
        return switch (t.dtype()) {
            case F64 -> s.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, 8 * i);
            case I32 -> s.get(ValueLayout.JAVA_INT_UNALIGNED, 4 * i);
            case U8, F8_E4M3 -> s.get(ValueLayout.JAVA_BYTE, i) & 0xff;
            case I8 -> s.get(ValueLayout.JAVA_BYTE, i);
            case F16 -> Float.float16ToFloat(s.get(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * i));
            case BF16 -> Float.intBitsToFloat(s.get(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * i) << 16);
            default -> throw new IllegalArgumentException("no values of " + t.dtype());
        };
    }

    static void set(Tensor t, long row, long column, double v) {
        set(t, row * t.cols() + column, v);
    }

    static void set(Tensor t, long i, double v) {
        MemorySegment s = t.bytes();
        switch (t.dtype()) {
            case F32 -> s.set(ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * i, (float) v);
            case F64 -> s.set(ValueLayout.JAVA_DOUBLE_UNALIGNED, 8 * i, v);
            case I32 -> s.set(ValueLayout.JAVA_INT_UNALIGNED, 4 * i, (int) v);
            case U8, I8, F8_E4M3 -> s.set(ValueLayout.JAVA_BYTE, i, (byte) v);
            case F16 ->
                    s.set(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * i, Float.floatToFloat16((float) v));
            case BF16 -> {
                int bits = Float.floatToRawIntBits(round((float) v, DType.BF16));
                s.set(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * i, (short) (bits >> 16));
            }
            default -> throw new IllegalArgumentException("no values of " + t.dtype());
        }
    }
}
