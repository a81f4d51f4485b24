// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.backend.Op.Activation;
import io.llmc.backend.Op.AttentionSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.QuantSpec;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.List;
import java.util.function.Function;

/// Every operation once, as large as a block of Llama 3 8B makes it: 2048 tokens of 4096 channels,
/// 14336 inside the MLP, 32 heads over 8, 128,256 tokens (logits of 512 rows at a time).
final class Workload {
    private static final int TOKENS = 2048;
    private static final int HIDDEN = 4096;
    private static final int INSIDE = 14336;
    private static final int HEADS = 32;
    private static final int KV_HEADS = 8;
    private static final int HEAD = 128;
    private static final int VOCABULARY = 128256;
    private static final int LOGITS = 512;
    private static final QuantSpec FOUR = new QuantSpec(4, 128, false);
    private static final AttentionSpec ATTENTION =
            new AttentionSpec(TOKENS, HEADS, KV_HEADS, HEAD, 0.088f, 0, 0);

    private Workload() {}

    /// Makes operands: memory of a device, or shapes only.
    interface Operands {
        Tensor of(DType type, long... dims);

        /// Indices below a bound.
        Tensor indices(int bound, long n);

        default Tensor f32(long... dims) {
            return of(DType.F32, dims);
        }

        default Weight.Dense weight(long out, long in) {
            return new Weight.Dense(of(DType.BF16, out, in));
        }

        default Weight.Grouped packed(long out, long in) {
            long groups = FOUR.groups(in);
            return new Weight.Grouped(
                    FOUR,
                    in,
                    of(DType.I32, out, FOUR.words(in)),
                    of(DType.BF16, out, groups),
                    of(DType.U8, out, groups),
                    null);
        }
    }

    /// What limits an operation that does not wait for memory.
    enum Unit {
        /// bf16 products with sums in F32.
        TENSOR,
        F32,
        F64
    }

    /// @param operations additions and multiplications of the unit
    record Entry(
            String name,
            Class<? extends Op> op,
            Unit unit,
            double operations,
            double touched,
            Function<Operands, Op> build) {
        /// For an operation that touches only a part of its operands.
        ///
        /// @param bytes read and written
        Entry touching(double bytes) {
            return new Entry(name, op, unit, operations, bytes, build);
        }

        /// Bytes that must cross device memory: every operand once, and what accumulates twice.
        double bytes(Op op) {
            if (touched > 0) {
                return touched;
            }
            double bytes = op.operands().mapToDouble(Tensor::byteSize).sum();
            if (op.getClass().getSimpleName().startsWith("Accumulate")) {
                bytes += op.operands().findFirst().orElseThrow().byteSize();
            }
            return bytes;
        }
    }

    private static Entry entry(
            String name, Class<? extends Op> op, double operations, Function<Operands, Op> build) {
        return new Entry(name, op, Unit.F32, operations, 0, build);
    }

    private static Entry doubles(
            String name, Class<? extends Op> op, double operations, Function<Operands, Op> build) {
        return new Entry(name, op, Unit.F64, operations, 0, build);
    }

    private static Entry tensor(
            String name, Class<? extends Op> op, double operations, Function<Operands, Op> build) {
        return new Entry(name, op, Unit.TENSOR, operations, 0, build);
    }

    private static double product(double m, double n, double k) {
        return 2 * m * n * k;
    }

    private static final double WIDE = (double) TOKENS * INSIDE;
    private static final double STREAM = (double) TOKENS * HIDDEN;
    private static final double WEIGHTS = (double) INSIDE * HIDDEN;
    private static final double SCORES = product(TOKENS, TOKENS, HEAD) * HEADS / 2;
    private static final double LOGIT = (double) LOGITS * VOCABULARY;

    /// bf16 terms of an F32 activation whose products keep F32's accuracy.
    private static final int TERMS = 3;

    static final List<Entry> ALL =
            List.of(
                    entry(
                                    "Embed",
                                    Op.Embed.class,
                                    STREAM,
                                    o ->
                                            new Op.Embed(
                                                    o.f32(TOKENS, HIDDEN),
                                                    o.indices(VOCABULARY, TOKENS),
                                                    o.of(DType.BF16, VOCABULARY, HIDDEN),
                                                    1))
                            .touching(6 * STREAM),
                    tensor(
                            "Matmul, bf16 weight",
                            Op.Matmul.class,
                            TERMS * product(TOKENS, INSIDE, HIDDEN),
                            o ->
                                    new Op.Matmul(
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, HIDDEN),
                                            o.weight(INSIDE, HIDDEN))),
                    tensor(
                            "Matmul, 4 bits",
                            Op.Matmul.class,
                            TERMS * product(TOKENS, INSIDE, HIDDEN),
                            o ->
                                    new Op.Matmul(
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, HIDDEN),
                                            o.packed(INSIDE, HIDDEN))),
                    tensor(
                            "Matmul, 4 bits, one row",
                            Op.Matmul.class,
                            TERMS * product(1, INSIDE, HIDDEN),
                            o ->
                                    new Op.Matmul(
                                            o.f32(1, INSIDE),
                                            o.f32(1, HIDDEN),
                                            o.packed(INSIDE, HIDDEN))),
                    entry(
                            "AddRow",
                            Op.AddRow.class,
                            STREAM,
                            o ->
                                    new Op.AddRow(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.of(DType.BF16, HIDDEN))),
                    entry(
                            "Add",
                            Op.Add.class,
                            2 * STREAM,
                            o ->
                                    new Op.Add(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            1)),
                    entry(
                            "Scale",
                            Op.Scale.class,
                            STREAM,
                            o -> new Op.Scale(o.f32(TOKENS, HIDDEN), o.f32(TOKENS, HIDDEN), 2)),
                    entry(
                            "Softcap",
                            Op.Softcap.class,
                            20 * LOGIT,
                            o ->
                                    new Op.Softcap(
                                            o.f32(LOGITS, VOCABULARY),
                                            o.f32(LOGITS, VOCABULARY),
                                            30)),
                    doubles(
                            "RmsNorm",
                            Op.RmsNorm.class,
                            2 * STREAM,
                            o ->
                                    new Op.RmsNorm(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.of(DType.BF16, HIDDEN),
                                            1e-5f,
                                            0)),
                    doubles(
                            "LayerNorm",
                            Op.LayerNorm.class,
                            4 * STREAM,
                            o ->
                                    new Op.LayerNorm(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.of(DType.BF16, HIDDEN),
                                            o.of(DType.BF16, HIDDEN),
                                            1e-5f)),
                    entry(
                            "Rope",
                            Op.Rope.class,
                            3 * STREAM,
                            o ->
                                    new Op.Rope(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HEAD),
                                            HEAD,
                                            TOKENS,
                                            false)),
                    entry(
                            "Attention",
                            Op.Attention.class,
                            2 * SCORES,
                            o ->
                                    new Op.Attention(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, KV_HEADS * HEAD),
                                            o.f32(TOKENS, KV_HEADS * HEAD),
                                            ATTENTION)),
                    entry(
                            "Activate",
                            Op.Activate.class,
                            20 * WIDE,
                            o ->
                                    new Op.Activate(
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            Activation.GELU_TANH)),
                    entry(
                            "Gated",
                            Op.Gated.class,
                            20 * WIDE,
                            o ->
                                    new Op.Gated(
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            Activation.SILU)),
                    entry(
                            "Columns",
                            Op.Columns.class,
                            0,
                            o -> new Op.Columns(o.f32(TOKENS, HIDDEN), o.f32(TOKENS, HIDDEN), 0)),
                    entry(
                            "GatherRows",
                            Op.GatherRows.class,
                            0,
                            o ->
                                    new Op.GatherRows(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.indices(TOKENS, TOKENS))),
                    entry(
                            "AccumulateRows",
                            Op.AccumulateRows.class,
                            2 * STREAM,
                            o ->
                                    new Op.AccumulateRows(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.indices(TOKENS, TOKENS),
                                            o.f32(TOKENS),
                                            1)),
                    entry(
                            "Route",
                            Op.Route.class,
                            TOKENS * 64,
                            o ->
                                    new Op.Route(
                                            o.of(DType.I32, TOKENS, 2),
                                            o.f32(TOKENS, 2),
                                            o.f32(TOKENS, 8),
                                            true)),
                    tensor(
                            "AccumulateMatmulInput, bf16 weight",
                            Op.AccumulateMatmulInput.class,
                            TERMS * product(TOKENS, INSIDE, HIDDEN),
                            o ->
                                    new Op.AccumulateMatmulInput(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, INSIDE),
                                            o.weight(INSIDE, HIDDEN))),
                    entry(
                            "AccumulateOuter",
                            Op.AccumulateOuter.class,
                            product(INSIDE, HIDDEN, TOKENS),
                            o ->
                                    new Op.AccumulateOuter(
                                            o.f32(INSIDE, HIDDEN),
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, HIDDEN))),
                    entry(
                            "AccumulateScaled",
                            Op.AccumulateScaled.class,
                            2 * STREAM,
                            o ->
                                    new Op.AccumulateScaled(
                                            o.f32(TOKENS, HIDDEN), o.f32(TOKENS, HIDDEN), 2)),
                    doubles(
                            "AccumulateColumnSums",
                            Op.AccumulateColumnSums.class,
                            STREAM,
                            o -> new Op.AccumulateColumnSums(o.f32(HIDDEN), o.f32(TOKENS, HIDDEN))),
                    entry(
                            "AccumulateColumns",
                            Op.AccumulateColumns.class,
                            STREAM,
                            o ->
                                    new Op.AccumulateColumns(
                                            o.f32(TOKENS, HIDDEN), o.f32(TOKENS, HIDDEN), 0)),
                    entry(
                            "AccumulateSoftcapGrad",
                            Op.AccumulateSoftcapGrad.class,
                            5 * LOGIT,
                            o ->
                                    new Op.AccumulateSoftcapGrad(
                                            o.f32(LOGITS, VOCABULARY),
                                            o.f32(LOGITS, VOCABULARY),
                                            o.f32(LOGITS, VOCABULARY),
                                            30)),
                    doubles(
                            "AccumulateRmsNormGrad",
                            Op.AccumulateRmsNormGrad.class,
                            8 * STREAM,
                            o ->
                                    new Op.AccumulateRmsNormGrad(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(HIDDEN),
                                            1e-5f,
                                            0)),
                    doubles(
                            "AccumulateLayerNormGrad",
                            Op.AccumulateLayerNormGrad.class,
                            12 * STREAM,
                            o ->
                                    new Op.AccumulateLayerNormGrad(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(HIDDEN),
                                            o.f32(HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(HIDDEN),
                                            1e-5f)),
                    entry(
                            "AccumulateRopeGrad",
                            Op.AccumulateRopeGrad.class,
                            4 * STREAM,
                            o ->
                                    new Op.AccumulateRopeGrad(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HEAD),
                                            HEAD,
                                            TOKENS,
                                            false)),
                    entry(
                            "AccumulateAttentionGrad",
                            Op.AccumulateAttentionGrad.class,
                            5 * SCORES,
                            o ->
                                    new Op.AccumulateAttentionGrad(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, KV_HEADS * HEAD),
                                            o.f32(TOKENS, KV_HEADS * HEAD),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, KV_HEADS * HEAD),
                                            o.f32(TOKENS, KV_HEADS * HEAD),
                                            ATTENTION)),
                    entry(
                            "AccumulateActivateGrad",
                            Op.AccumulateActivateGrad.class,
                            30 * WIDE,
                            o ->
                                    new Op.AccumulateActivateGrad(
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            Activation.GELU_TANH)),
                    entry(
                            "AccumulateGatedGrad",
                            Op.AccumulateGatedGrad.class,
                            40 * WIDE,
                            o ->
                                    new Op.AccumulateGatedGrad(
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            o.f32(TOKENS, INSIDE),
                                            Activation.SILU)),
                    doubles(
                            "AccumulateRowsGrad",
                            Op.AccumulateRowsGrad.class,
                            4 * STREAM,
                            o ->
                                    new Op.AccumulateRowsGrad(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            o.indices(TOKENS, TOKENS),
                                            o.f32(TOKENS),
                                            1)),
                    entry(
                            "AccumulateRouteGrad",
                            Op.AccumulateRouteGrad.class,
                            TOKENS * 64,
                            o ->
                                    new Op.AccumulateRouteGrad(
                                            o.f32(TOKENS, 8),
                                            o.f32(TOKENS, 2),
                                            o.of(DType.I32, TOKENS, 2),
                                            o.f32(TOKENS, 2),
                                            o.f32(TOKENS, 8),
                                            true)),
                    entry(
                            "DistillLoss",
                            Op.DistillLoss.class,
                            60 * LOGIT,
                            o ->
                                    new Op.DistillLoss(
                                            o.f32(LOGITS, VOCABULARY),
                                            o.of(DType.F64, LOGITS, 4),
                                            o.f32(LOGITS, VOCABULARY),
                                            o.f32(LOGITS, VOCABULARY),
                                            o.indices(VOCABULARY, LOGITS),
                                            new Op.LossWeights(1, 0, 0, 0, 2, 0.5f),
                                            1)),
                    entry(
                            "TopLogProbabilities",
                            Op.TopLogProbabilities.class,
                            40 * LOGIT,
                            o ->
                                    new Op.TopLogProbabilities(
                                            o.f32(LOGITS, 64),
                                            o.of(DType.I32, LOGITS, 64),
                                            o.f32(LOGITS, VOCABULARY),
                                            1)),
                    entry(
                            "DistillTopLoss",
                            Op.DistillTopLoss.class,
                            40 * LOGIT,
                            o ->
                                    new Op.DistillTopLoss(
                                            o.f32(LOGITS, VOCABULARY),
                                            o.of(DType.F64, LOGITS, 4),
                                            o.f32(LOGITS, VOCABULARY),
                                            o.of(DType.I32, LOGITS, 64),
                                            o.f32(LOGITS, 64),
                                            o.indices(VOCABULARY, LOGITS),
                                            new Op.LossWeights(1, 0, 0, 0, 2, 0.5f),
                                            Op.Missing.REST,
                                            1)),
                    doubles(
                            "AccumulateHiddenLoss",
                            Op.AccumulateHiddenLoss.class,
                            4 * STREAM,
                            o ->
                                    new Op.AccumulateHiddenLoss(
                                            o.f32(TOKENS, HIDDEN),
                                            o.of(DType.F64, TOKENS),
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, HIDDEN),
                                            Op.Distance.MSE,
                                            1)),
                    entry(
                            "AccumulateAttentionLoss",
                            Op.AccumulateAttentionLoss.class,
                            5 * SCORES,
                            o ->
                                    new Op.AccumulateAttentionLoss(
                                            o.f32(TOKENS, HIDDEN),
                                            o.f32(TOKENS, KV_HEADS * HEAD),
                                            o.of(DType.F64, TOKENS, HEADS),
                                            new Op.Scores(
                                                    o.f32(TOKENS, HIDDEN),
                                                    o.f32(TOKENS, KV_HEADS * HEAD),
                                                    ATTENTION),
                                            new Op.Scores(
                                                    o.f32(TOKENS, HIDDEN),
                                                    o.f32(TOKENS, KV_HEADS * HEAD),
                                                    ATTENTION),
                                            1)),
                    entry(
                            "AccumulateAdamW",
                            Op.AccumulateAdamW.class,
                            16 * WEIGHTS,
                            o ->
                                    new Op.AccumulateAdamW(
                                            o.f32(INSIDE, HIDDEN),
                                            o.f32(INSIDE, HIDDEN),
                                            o.f32(INSIDE, HIDDEN),
                                            o.f32(INSIDE, HIDDEN),
                                            adam())),
                    entry(
                            "AccumulateAdamW8",
                            Op.AccumulateAdamW8.class,
                            60 * WEIGHTS,
                            o ->
                                    new Op.AccumulateAdamW8(
                                            o.f32(INSIDE, HIDDEN),
                                            moment(o),
                                            moment(o),
                                            o.f32(INSIDE, HIDDEN),
                                            adam())),
                    entry(
                            "NegativeLogLikelihood",
                            Op.NegativeLogLikelihood.class,
                            20 * LOGIT,
                            o ->
                                    new Op.NegativeLogLikelihood(
                                            o.f32(LOGITS),
                                            o.f32(LOGITS, VOCABULARY),
                                            o.indices(VOCABULARY, LOGITS))),
                    entry(
                            "Divergence",
                            Op.Divergence.class,
                            40 * LOGIT,
                            o ->
                                    new Op.Divergence(
                                            o.f32(LOGITS),
                                            o.f32(LOGITS, VOCABULARY),
                                            o.f32(LOGITS, VOCABULARY))),
                    entry(
                            "ArgMax",
                            Op.ArgMax.class,
                            LOGIT,
                            o -> new Op.ArgMax(o.of(DType.I32, LOGITS), o.f32(LOGITS, VOCABULARY))),
                    entry("Zero", Op.Zero.class, 0, o -> new Op.Zero(o.f32(HIDDEN, HIDDEN))),
                    entry(
                            "AccumulateGram",
                            Op.AccumulateGram.class,
                            product(HIDDEN, HIDDEN, TOKENS) / 2,
                            o ->
                                    new Op.AccumulateGram(
                                            o.f32(HIDDEN, HIDDEN), o.f32(TOKENS, HIDDEN), 1)),
                    entry(
                                    "Diagonal",
                                    Op.Diagonal.class,
                                    0,
                                    o -> new Op.Diagonal(o.f32(HIDDEN), o.f32(HIDDEN, HIDDEN)))
                            .touching(8 * HIDDEN),
                    entry(
                            "GatherSymmetric",
                            Op.GatherSymmetric.class,
                            0,
                            o ->
                                    new Op.GatherSymmetric(
                                            o.f32(HIDDEN, HIDDEN),
                                            o.f32(HIDDEN, HIDDEN),
                                            o.indices(HIDDEN, HIDDEN))),
                    entry(
                            "GatherColumns",
                            Op.GatherColumns.class,
                            0,
                            o ->
                                    new Op.GatherColumns(
                                            o.f32(INSIDE, HIDDEN),
                                            o.f32(INSIDE, HIDDEN),
                                            o.indices(HIDDEN, HIDDEN))),
                    entry(
                            "CholeskyInverse",
                            Op.CholeskyInverse.class,
                            2 * Math.pow(HIDDEN, 3) / 3,
                            o ->
                                    new Op.CholeskyInverse(
                                            o.f32(HIDDEN, HIDDEN),
                                            o.of(DType.I32, 1),
                                            o.f32(HIDDEN, HIDDEN),
                                            1)),
                    doubles(
                            "QuadraticForm",
                            Op.QuadraticForm.class,
                            product(INSIDE, HIDDEN, HIDDEN),
                            o ->
                                    new Op.QuadraticForm(
                                            o.of(DType.F64, INSIDE),
                                            o.f32(INSIDE, HIDDEN),
                                            o.f32(HIDDEN, HIDDEN))),
                    entry(
                            "Transpose",
                            Op.Transpose.class,
                            0,
                            o -> new Op.Transpose(o.f32(HIDDEN, INSIDE), o.f32(INSIDE, HIDDEN))),
                    doubles(
                            "AccumulateColumnNorms",
                            Op.AccumulateColumnNorms.class,
                            2 * STREAM,
                            o ->
                                    new Op.AccumulateColumnNorms(
                                            o.of(DType.F64, HIDDEN), o.f32(TOKENS, HIDDEN), 2)),
                    doubles(
                            "RowSquares",
                            Op.RowSquares.class,
                            2 * STREAM,
                            o -> new Op.RowSquares(o.of(DType.F64, TOKENS), o.f32(TOKENS, HIDDEN))),
                    entry(
                            "ChooseMask, half of each row",
                            Op.ChooseMask.class,
                            20 * WEIGHTS,
                            o ->
                                    new Op.ChooseMask(
                                            o.of(DType.U8, INSIDE, HIDDEN),
                                            o.of(DType.BF16, INSIDE, HIDDEN),
                                            o.f32(HIDDEN),
                                            new Op.MaskRule.EachRow(HIDDEN / 2),
                                            0,
                                            HIDDEN)),
                    entry(
                            "ChooseMask, 2 of 4",
                            Op.ChooseMask.class,
                            10 * WEIGHTS,
                            o ->
                                    new Op.ChooseMask(
                                            o.of(DType.U8, INSIDE, HIDDEN),
                                            o.of(DType.BF16, INSIDE, HIDDEN),
                                            o.f32(HIDDEN),
                                            new Op.MaskRule.NOfM(2, 4),
                                            0,
                                            HIDDEN)),
                    entry(
                            "CountAbove",
                            Op.CountAbove.class,
                            2 * WEIGHTS,
                            o ->
                                    new Op.CountAbove(
                                            o.of(DType.F64, INSIDE),
                                            o.of(DType.BF16, INSIDE, HIDDEN),
                                            o.f32(HIDDEN),
                                            1)),
                    entry(
                            "ApplyMask",
                            Op.ApplyMask.class,
                            WEIGHTS,
                            o ->
                                    new Op.ApplyMask(
                                            o.of(DType.BF16, INSIDE, HIDDEN),
                                            o.of(DType.BF16, INSIDE, HIDDEN),
                                            o.of(DType.U8, INSIDE, HIDDEN))),
                    entry("ChooseGrid", Op.ChooseGrid.class, 4 * WEIGHTS, o -> grid(o, null)),
                    doubles(
                            "ChooseGrid with the search",
                            Op.ChooseGrid.class,
                            9 * 4 * WEIGHTS,
                            o -> grid(o, Op.GridSearch.DEFAULT)),
                    entry(
                            "RoundToGrid",
                            Op.RoundToGrid.class,
                            6 * WEIGHTS,
                            o ->
                                    new Op.RoundToGrid(
                                            o.of(DType.U8, INSIDE, HIDDEN),
                                            null,
                                            o.of(DType.BF16, INSIDE, HIDDEN),
                                            o.of(DType.BF16, INSIDE, FOUR.groups(HIDDEN)),
                                            o.of(DType.U8, INSIDE, FOUR.groups(HIDDEN)),
                                            FOUR)),
                    entry(
                                    "AccumulateObsBlock, 128 columns",
                                    Op.AccumulateObsBlock.class,
                                    product(INSIDE, 128, 128) / 2,
                                    o ->
                                            new Op.AccumulateObsBlock(
                                                    o.f32(INSIDE, 128),
                                                    o.f32(INSIDE, HIDDEN),
                                                    o.f32(HIDDEN, HIDDEN),
                                                    new Op.AccumulateObsBlock.Grid(
                                                            o.of(DType.U8, INSIDE, HIDDEN),
                                                            o.of(
                                                                    DType.BF16,
                                                                    INSIDE,
                                                                    FOUR.groups(HIDDEN)),
                                                            o.of(
                                                                    DType.U8,
                                                                    INSIDE,
                                                                    FOUR.groups(HIDDEN)),
                                                            o.indices(
                                                                    (int) FOUR.groups(HIDDEN),
                                                                    HIDDEN),
                                                            FOUR),
                                                    null,
                                                    0,
                                                    128))
                            .touching(13.0 * INSIDE * 128),
                    entry(
                                    "AccumulateObsSpread of 128 columns",
                                    Op.AccumulateObsSpread.class,
                                    product(INSIDE, HIDDEN - 128, 128),
                                    o ->
                                            new Op.AccumulateObsSpread(
                                                    o.f32(INSIDE, HIDDEN),
                                                    o.f32(INSIDE, 128),
                                                    o.f32(HIDDEN, HIDDEN),
                                                    0,
                                                    128))
                            .touching(
                                    8.0 * INSIDE * (HIDDEN - 128) + 4.0 * 128 * (INSIDE + HIDDEN)),
                    entry(
                            "PackCodes",
                            Op.PackCodes.class,
                            WEIGHTS,
                            o ->
                                    new Op.PackCodes(
                                            o.of(DType.I32, INSIDE, FOUR.words(HIDDEN)),
                                            o.of(DType.U8, INSIDE, HIDDEN),
                                            4)),
                    entry(
                            "Dequantize",
                            Op.Dequantize.class,
                            2 * WEIGHTS,
                            o ->
                                    new Op.Dequantize(
                                            o.f32(INSIDE, HIDDEN), o.packed(INSIDE, HIDDEN))));

    private static Op grid(Operands o, Op.GridSearch search) {
        return new Op.ChooseGrid(
                o.of(DType.BF16, INSIDE, FOUR.groups(HIDDEN)),
                o.of(DType.U8, INSIDE, FOUR.groups(HIDDEN)),
                o.of(DType.BF16, INSIDE, HIDDEN),
                search == null ? null : o.f32(HIDDEN),
                FOUR,
                0,
                search,
                0,
                (int) FOUR.groups(HIDDEN));
    }

    private static Op.Moment moment(Operands o) {
        return new Op.Moment(
                o.of(DType.U8, INSIDE, HIDDEN), o.f32(Op.Moment.scales((long) INSIDE * HIDDEN)));
    }

    private static Op.AdamSpec adam() {
        return new Op.AdamSpec(1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 10, 1);
    }
}
