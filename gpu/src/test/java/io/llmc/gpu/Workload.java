// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CacheOp;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.GradientOp;
import io.llmc.backend.LossOp;
import io.llmc.backend.Op;
import io.llmc.backend.OptimizerOp;
import io.llmc.backend.RecurrentOp;
import io.llmc.backend.RouterSpec;
import io.llmc.backend.SmallFloatOp;
import io.llmc.backend.SparseOp;
import io.llmc.backend.StatisticOp;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.BlockType;
import io.llmc.tensor.Buffer;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;

/// Every operation once, as large as a block of Llama 3 8B makes it: 2048 tokens of 4096 channels,
/// 14336 inside the MLP, 32 heads over 8, 128,256 tokens (logits of 512 rows at a time).
final class Workload {
    private static final int HEAD = 128;

    /// Tokens of a cache's page.
    private static final int PAGE = 32;

    private static final Encoding.Grid<Codes.Floats> NESTED =
            new Encoding.Grid<>(Codes.Floats.E2M1, Tiles.groups(16), ScaleKind.NESTED);

    private static final Encoding.Grid<Codes.Ints> FOUR = Encoding.ints(4, 128, false);

    /// bf16 terms of an F32 activation whose products keep F32's accuracy.
    private static final int TERMS = 3;

    /// Of streams beside each other (DeepSeek V4).
    private static final ForwardOp.Balance BALANCE = new ForwardOp.Balance(4, 20, 1e-6f);

    /// Heads that choose keys (DeepSeek V3.2).
    private static final int CHOOSING = 64;

    /// Tokens of an entry (DeepSeek V4).
    private static final int RATE = 4;

    /// Of a channel (Mamba).
    private static final int STATES = 16;

    /// Rows that a convolution adds up.
    private static final int TAPS = 4;

    static final Workload FULL = new Workload(1);

    private final int tokens;
    private final int hidden;
    private final int inside;
    private final int sequences;
    private final int heads;
    private final int kvHeads;
    private final int vocabulary;
    private final int logits;
    private final AttentionSpec attention;
    private final double wide;
    private final double stream;
    private final double weights;
    private final double scores;
    private final double logit;
    private final double chosen;
    private final double seen;

    /// @param divisor 1 for the sizes above, more for a try where speed is no matter
    Workload(int divisor) {
        tokens = Math.max(8, 2048 / divisor);
        sequences = Math.max(2, 32 / divisor);
        heads = Math.max(2, 32 / divisor);
        kvHeads = Math.max(1, 8 / divisor);
        hidden = heads * HEAD;
        inside = Math.max(2, 112 / divisor) * 128;
        vocabulary = Math.max(128, 128256 / divisor);
        logits = Math.max(4, 512 / divisor);
        attention =
                new AttentionSpec(
                        new AttentionSpec.Heads(heads, kvHeads, HEAD, HEAD),
                        new AttentionSpec.Reach(tokens, tokens, 0, 0),
                        0.088f,
                        0);
        wide = (double) tokens * inside;
        stream = (double) tokens * hidden;
        weights = (double) inside * hidden;
        scores = product(tokens, tokens, HEAD) * heads / 2;
        logit = (double) logits * vocabulary;
        chosen = product(tokens, tokens, HEAD) * CHOOSING / 2;
        seen = 2 * product(tokens, HEAD + tokens / (2.0 * RATE), HEAD) * heads;
    }

    /// Makes operands: memory of a device, or shapes only.
    interface Operands {
        Tensor of(DType type, long... dims);

        /// Indices below a bound.
        Tensor indices(int bound, long... dims);

        /// The first pages of a pool, one after another.
        ///
        /// @param first number
        Tensor pages(int first, int count);

        /// Numbers of keys, each row's those from 0 on.
        Tensor ascending(long rows, long cols);

        /// A symmetric matrix with a diagonal that outweighs the rest.
        Tensor definite(long n);

        default Tensor f32(long... dims) {
            return of(DType.F32, dims);
        }

        /// Second moments and importances.
        default Tensor positive(long... dims) {
            return f32(dims);
        }

        default Weight.Dense weight(long out, long in) {
            return new Weight.Dense(of(DType.BF16, out, in));
        }

        default Weight.Scaled scaled(long out, long in) {
            return new Weight.Scaled(
                    new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.ROW),
                    of(DType.F8_E4M3, out, in),
                    of(DType.BF16, out, 1));
        }

        default Weight.Blocks blocks(long out, long in) {
            return new Weight.Blocks(
                    BlockType.Q8_0, in, of(DType.U8, out, BlockType.Q8_0.rowBytes(in)));
        }

        /// Integers of 8 bits with a scale a row.
        default Weight.Grouped octets(long out, long in) {
            return new Weight.Grouped(
                    Encoding.ints(8, Tiles.ALL, true),
                    in,
                    of(DType.I32, out, in / 4),
                    of(DType.BF16, out, 1),
                    of(DType.U8, out, 1),
                    null);
        }

        default Weight.Grouped packed(long out, long in) {
            long groups = FOUR.tiles().across(in);
            return new Weight.Grouped(
                    FOUR,
                    in,
                    of(DType.I32, out, FOUR.codes().words(in)),
                    of(DType.BF16, out, groups),
                    of(DType.U8, out, groups),
                    null);
        }
    }

    /// Shapes without memory.
    static final Operands SHAPES =
            new Operands() {
                @Override
                public Tensor of(DType type, long... dims) {
                    return new Tensor(new Nowhere(), 0, type, new Shape(dims));
                }

                @Override
                public Tensor indices(int bound, long... dims) {
                    return of(DType.I32, dims);
                }

                @Override
                public Tensor pages(int first, int count) {
                    return of(DType.I32, count);
                }

                @Override
                public Tensor ascending(long rows, long cols) {
                    return f32(rows, cols);
                }

                @Override
                public Tensor definite(long n) {
                    return f32(n, n);
                }
            };

    private record Nowhere() implements Buffer {
        @Override
        public String device() {
            return "nowhere";
        }

        @Override
        public long byteSize() {
            return Long.MAX_VALUE;
        }

        @Override
        public boolean isAlive() {
            return true;
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

    /// A product of as few rows as decoding has.
    private Entry rows(String name, int rows, Function<Operands, Weight> weight) {
        return entry(
                name,
                ForwardOp.Matmul.class,
                product(rows, inside, hidden),
                o ->
                        new ForwardOp.Matmul(
                                o.f32(rows, inside), o.f32(rows, hidden), weight.apply(o)));
    }

    private Entry integers(String name, int rows) {
        return entry(
                name,
                ForwardOp.IntegerMatmul.class,
                product(rows, inside, hidden) / 4, // four pairs an instruction
                o ->
                        new ForwardOp.IntegerMatmul(
                                o.f32(rows, inside),
                                o.f32(rows, hidden),
                                InputRounding.dynamic(
                                        new ActivationScheme(
                                                new Codes.Ints(8, true), Tiles.ROW, true)),
                                o.octets(inside, hidden)));
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

    List<Entry> all() {
        return List.of(
                entry(
                                "Embed",
                                ForwardOp.Embed.class,
                                stream,
                                o ->
                                        new ForwardOp.Embed(
                                                o.f32(tokens, hidden),
                                                o.indices(vocabulary, tokens),
                                                o.of(DType.BF16, vocabulary, hidden),
                                                1))
                        .touching(6 * stream),
                tensor(
                        "Matmul, bf16 weight",
                        ForwardOp.Matmul.class,
                        TERMS * product(tokens, inside, hidden),
                        o ->
                                new ForwardOp.Matmul(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, hidden),
                                        o.weight(inside, hidden))),
                tensor(
                        "Matmul, 4 bits",
                        ForwardOp.Matmul.class,
                        TERMS * product(tokens, inside, hidden),
                        o ->
                                new ForwardOp.Matmul(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, hidden),
                                        o.packed(inside, hidden))),
                tensor(
                        "Matmul, F8_E4M3",
                        ForwardOp.Matmul.class,
                        TERMS * product(tokens, inside, hidden),
                        o ->
                                new ForwardOp.Matmul(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, hidden),
                                        o.scaled(inside, hidden))),
                tensor(
                        "Matmul, Q8_0",
                        ForwardOp.Matmul.class,
                        2 * TERMS * product(tokens, inside, hidden),
                        o ->
                                new ForwardOp.Matmul(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, hidden),
                                        o.blocks(inside, hidden))),
                rows("Matmul, bf16 weight, one row", 1, o -> o.weight(inside, hidden)),
                rows("Matmul, 4 bits, one row", 1, o -> o.packed(inside, hidden)),
                rows("Matmul, 4 bits, eight rows", 8, o -> o.packed(inside, hidden)),
                rows("Matmul, F8_E4M3, one row", 1, o -> o.scaled(inside, hidden)),
                entry(
                        "RoundActivations",
                        ForwardOp.RoundActivations.class,
                        4 * stream,
                        o ->
                                new ForwardOp.RoundActivations(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        InputRounding.dynamic(
                                                new ActivationScheme(
                                                        Codes.Floats.E4M3, Tiles.ROW, true)))),
                integers("IntegerMatmul", tokens),
                integers("IntegerMatmul, one row", 1),
                entry(
                        "AddRow",
                        ForwardOp.AddRow.class,
                        stream,
                        o ->
                                new ForwardOp.AddRow(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.of(DType.BF16, hidden))),
                entry(
                        "Multiply",
                        ForwardOp.Multiply.class,
                        stream,
                        o ->
                                new ForwardOp.Multiply(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden))),
                entry(
                        "MultiplyRow",
                        ForwardOp.MultiplyRow.class,
                        stream,
                        o ->
                                new ForwardOp.MultiplyRow(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.of(DType.BF16, hidden),
                                        1)),
                entry(
                        "Clip",
                        ForwardOp.Clip.class,
                        stream,
                        o -> new ForwardOp.Clip(o.f32(tokens, hidden), o.f32(tokens, hidden), 1)),
                entry(
                        "AccumulateClipGrad",
                        GradientOp.AccumulateClipGrad.class,
                        stream,
                        o ->
                                new GradientOp.AccumulateClipGrad(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        1)),
                entry(
                        "Add",
                        ForwardOp.Add.class,
                        2 * stream,
                        o ->
                                new ForwardOp.Add(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        1)),
                entry(
                        "Scale",
                        ForwardOp.Scale.class,
                        stream,
                        o -> new ForwardOp.Scale(o.f32(tokens, hidden), o.f32(tokens, hidden), 2)),
                entry(
                        "Softcap",
                        ForwardOp.Softcap.class,
                        20 * logit,
                        o ->
                                new ForwardOp.Softcap(
                                        o.f32(logits, vocabulary), o.f32(logits, vocabulary), 30)),
                doubles(
                        "RmsNorm",
                        ForwardOp.RmsNorm.class,
                        2 * stream,
                        o ->
                                new ForwardOp.RmsNorm(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.of(DType.BF16, hidden),
                                        1e-5f,
                                        0)),
                doubles(
                        "LayerNorm",
                        ForwardOp.LayerNorm.class,
                        4 * stream,
                        o ->
                                new ForwardOp.LayerNorm(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.of(DType.BF16, hidden),
                                        o.of(DType.BF16, hidden),
                                        1e-5f)),
                entry(
                        "Rope",
                        ForwardOp.Rope.class,
                        3 * stream,
                        o ->
                                new ForwardOp.Rope(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, HEAD),
                                        HEAD,
                                        tokens,
                                        false)),
                entry("Attention", ForwardOp.Attention.class, 2 * scores, this::attention),
                entry("StorePages", CacheOp.StorePages.class, stream, this::storePages),
                entry("GatherPages", CacheOp.GatherPages.class, stream, this::gatherPages),
                entry(
                        "PagedAttention, one query of %d sequences".formatted(sequences),
                        CacheOp.PagedAttention.class,
                        4.0 * sequences * tokens * hidden,
                        this::pagedAttention),
                entry(
                        "Activate",
                        ForwardOp.Activate.class,
                        20 * wide,
                        o ->
                                new ForwardOp.Activate(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        Activation.GELU_TANH)),
                entry(
                        "Gated",
                        ForwardOp.Gated.class,
                        20 * wide,
                        o ->
                                new ForwardOp.Gated(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        Activation.SILU)),
                entry(
                        "ClampedSwiGlu",
                        ForwardOp.ClampedSwiGlu.class,
                        20 * wide,
                        o ->
                                new ForwardOp.ClampedSwiGlu(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        new ForwardOp.Clamp(7, 1.702f, 1))),
                entry(
                        "Xielu",
                        ForwardOp.Xielu.class,
                        20 * wide,
                        o ->
                                new ForwardOp.Xielu(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        new ForwardOp.Curve(
                                                o.f32(1), o.f32(1), o.f32(1), o.f32(1)))),
                entry("Convolve", ForwardOp.Convolve.class, 2 * TAPS * stream, this::convolve),
                entry(
                        "ResumeConvolve",
                        RecurrentOp.ResumeConvolve.class,
                        2 * TAPS * stream,
                        o ->
                                new RecurrentOp.ResumeConvolve(
                                        convolve(o),
                                        List.of(
                                                new RecurrentOp.Run(
                                                        0,
                                                        tokens,
                                                        o.f32(TAPS - 1, hidden),
                                                        o.f32(TAPS - 1, hidden))))),
                entry(
                        "Columns",
                        ForwardOp.Columns.class,
                        0,
                        o ->
                                new ForwardOp.Columns(
                                        o.f32(tokens, hidden), o.f32(tokens, hidden), 0)),
                entry(
                        "PutColumns",
                        ForwardOp.PutColumns.class,
                        0,
                        o ->
                                new ForwardOp.PutColumns(
                                        o.f32(tokens, hidden), o.f32(tokens, hidden), 0)),
                entry(
                        "GatherRows",
                        ForwardOp.GatherRows.class,
                        0,
                        o ->
                                new ForwardOp.GatherRows(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.indices(tokens, tokens))),
                entry(
                        "AccumulateRows",
                        ForwardOp.AccumulateRows.class,
                        2 * stream,
                        o ->
                                new ForwardOp.AccumulateRows(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.indices(tokens, tokens),
                                        o.f32(tokens),
                                        1)),
                entry(
                        "Route",
                        ForwardOp.Route.class,
                        tokens * 64,
                        o ->
                                new ForwardOp.Route(
                                        o.of(DType.I32, tokens, 2),
                                        o.f32(tokens, 2),
                                        o.f32(tokens, 8),
                                        null,
                                        RouterSpec.softmax(true))),
                entry(
                        "WeighExperts",
                        ForwardOp.WeighExperts.class,
                        tokens * 64,
                        o ->
                                new ForwardOp.WeighExperts(
                                        o.f32(tokens, 2),
                                        o.indices(8, tokens, 2),
                                        o.f32(tokens, 8),
                                        RouterSpec.of(RouterSpec.Scores.SIGMOID, true))),
                doubles(
                        "Sinkhorn, 4 streams",
                        ForwardOp.Sinkhorn.class,
                        2.0 * tokens * 16 * BALANCE.steps(),
                        o -> new ForwardOp.Sinkhorn(o.f32(tokens, 16), o.f32(tokens, 16), BALANCE)),
                doubles(
                        "AccumulateSinkhornGrad, 4 streams",
                        GradientOp.AccumulateSinkhornGrad.class,
                        7.0 * tokens * 16 * BALANCE.steps(),
                        o ->
                                new GradientOp.AccumulateSinkhornGrad(
                                        o.f32(tokens, 16),
                                        o.f32(tokens, 16),
                                        o.f32(tokens, 16),
                                        BALANCE)),
                entry("DeltaRule", RecurrentOp.DeltaRule.class, 7 * stream * HEAD, this::deltaRule),
                entry(
                        "StateSpace",
                        RecurrentOp.StateSpace.class,
                        5 * stream * HEAD,
                        this::stateSpace),
                entry(
                        "SelectiveScan, 16 numbers a channel",
                        RecurrentOp.SelectiveScan.class,
                        7 * stream * STATES,
                        o ->
                                new RecurrentOp.SelectiveScan(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, STATES),
                                        o.f32(tokens, STATES),
                                        o.f32(hidden, STATES),
                                        o.f32(hidden),
                                        RecurrentOp.whole(tokens, tokens))),
                entry("Choose, 64 heads", SparseOp.Choose.class, chosen, this::choose),
                entry(
                        "ChosenAttention, %d keys".formatted(tokens / 4),
                        SparseOp.ChosenAttention.class,
                        2 * product(tokens, tokens / 4.0, HEAD) * heads,
                        this::chosenAttention),
                entry(
                        "Compress, 4 tokens",
                        CompressedOp.Compress.class,
                        4.0 * tokens * 4 * HEAD,
                        this::compress),
                entry(
                        "ChooseEntries, 64 heads",
                        CompressedOp.ChooseEntries.class,
                        chosen / RATE,
                        this::chooseEntries),
                entry(
                        "CompressedAttention",
                        CompressedOp.CompressedAttention.class,
                        seen,
                        this::compressedAttention),
                entry(
                        "AccumulateCompressGrad, 4 tokens",
                        GradientOp.AccumulateCompressGrad.class,
                        10.0 * tokens * 4 * HEAD,
                        o ->
                                new GradientOp.AccumulateCompressGrad(
                                        o.f32(tokens, 4 * HEAD),
                                        o.f32(RATE, 2 * HEAD),
                                        o.f32(tokens, HEAD),
                                        compress(o))),
                entry(
                        "AccumulateCompressedAttentionGrad",
                        GradientOp.AccumulateCompressedAttentionGrad.class,
                        2.5 * seen,
                        o ->
                                new GradientOp.AccumulateCompressedAttentionGrad(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, HEAD),
                                        o.f32(tokens, HEAD),
                                        o.f32(heads),
                                        o.f32(tokens, hidden),
                                        compressedAttention(o))),
                tensor(
                        "AccumulateMatmulInput, bf16 weight",
                        GradientOp.AccumulateMatmulInput.class,
                        TERMS * product(tokens, inside, hidden),
                        o ->
                                new GradientOp.AccumulateMatmulInput(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, inside),
                                        o.weight(inside, hidden))),
                entry(
                        "AccumulateOuter",
                        GradientOp.AccumulateOuter.class,
                        product(inside, hidden, tokens),
                        o ->
                                new GradientOp.AccumulateOuter(
                                        o.f32(inside, hidden),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, hidden))),
                doubles(
                        "AccumulateScales",
                        GradientOp.AccumulateScales.class,
                        2 * weights,
                        o ->
                                new GradientOp.AccumulateScales(
                                        o.f32(inside, FOUR.tiles().across(hidden)),
                                        o.f32(inside, hidden),
                                        o.packed(inside, hidden))),
                entry(
                        "AccumulateScaled",
                        GradientOp.AccumulateScaled.class,
                        2 * stream,
                        o ->
                                new GradientOp.AccumulateScaled(
                                        o.f32(tokens, hidden), o.f32(tokens, hidden), 2)),
                doubles(
                        "AccumulateColumnSums",
                        GradientOp.AccumulateColumnSums.class,
                        stream,
                        o ->
                                new GradientOp.AccumulateColumnSums(
                                        o.f32(hidden), o.f32(tokens, hidden))),
                entry(
                        "AccumulateConvolveGrad",
                        GradientOp.AccumulateConvolveGrad.class,
                        4 * TAPS * stream,
                        o ->
                                new GradientOp.AccumulateConvolveGrad(
                                        o.f32(tokens, hidden),
                                        o.f32(hidden, TAPS),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.of(DType.BF16, hidden, TAPS),
                                        tokens)),
                entry(
                        "AccumulateColumns",
                        GradientOp.AccumulateColumns.class,
                        stream,
                        o ->
                                new GradientOp.AccumulateColumns(
                                        o.f32(tokens, hidden), o.f32(tokens, hidden), 0)),
                entry(
                        "AccumulateSoftcapGrad",
                        GradientOp.AccumulateSoftcapGrad.class,
                        5 * logit,
                        o ->
                                new GradientOp.AccumulateSoftcapGrad(
                                        o.f32(logits, vocabulary),
                                        o.f32(logits, vocabulary),
                                        o.f32(logits, vocabulary),
                                        30)),
                doubles(
                        "AccumulateRmsNormGrad",
                        GradientOp.AccumulateRmsNormGrad.class,
                        8 * stream,
                        o ->
                                new GradientOp.AccumulateRmsNormGrad(
                                        o.f32(tokens, hidden),
                                        o.f32(hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(hidden),
                                        1e-5f,
                                        0)),
                doubles(
                        "AccumulateLayerNormGrad",
                        GradientOp.AccumulateLayerNormGrad.class,
                        12 * stream,
                        o ->
                                new GradientOp.AccumulateLayerNormGrad(
                                        o.f32(tokens, hidden),
                                        o.f32(hidden),
                                        o.f32(hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(hidden),
                                        1e-5f)),
                entry(
                        "AccumulateRopeGrad",
                        GradientOp.AccumulateRopeGrad.class,
                        4 * stream,
                        o ->
                                new GradientOp.AccumulateRopeGrad(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, HEAD),
                                        HEAD,
                                        tokens,
                                        false)),
                entry(
                        "AccumulateAttentionGrad",
                        GradientOp.AccumulateAttentionGrad.class,
                        5 * scores,
                        o ->
                                new GradientOp.AccumulateAttentionGrad(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, kvHeads * HEAD),
                                        o.f32(tokens, kvHeads * HEAD),
                                        null,
                                        o.f32(tokens, hidden),
                                        attention(o))),
                entry(
                        "AccumulateActivateGrad",
                        GradientOp.AccumulateActivateGrad.class,
                        30 * wide,
                        o ->
                                new GradientOp.AccumulateActivateGrad(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        Activation.GELU_TANH)),
                entry(
                        "AccumulateGatedGrad",
                        GradientOp.AccumulateGatedGrad.class,
                        40 * wide,
                        o ->
                                new GradientOp.AccumulateGatedGrad(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        Activation.SILU)),
                entry(
                        "AccumulateClampedSwiGluGrad",
                        GradientOp.AccumulateClampedSwiGluGrad.class,
                        40 * wide,
                        o ->
                                new GradientOp.AccumulateClampedSwiGluGrad(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        new ForwardOp.Clamp(7, 1.702f, 1))),
                entry(
                        "AccumulateXieluGrad",
                        GradientOp.AccumulateXieluGrad.class,
                        30 * wide,
                        o ->
                                new GradientOp.AccumulateXieluGrad(
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        o.f32(tokens, inside),
                                        new ForwardOp.Curve(
                                                o.f32(1), o.f32(1), o.f32(1), o.f32(1)))),
                doubles(
                        "AccumulateRowsGrad",
                        GradientOp.AccumulateRowsGrad.class,
                        4 * stream,
                        o ->
                                new GradientOp.AccumulateRowsGrad(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        o.indices(tokens, tokens),
                                        o.f32(tokens),
                                        1)),
                entry(
                        "AccumulateRouteGrad",
                        GradientOp.AccumulateRouteGrad.class,
                        tokens * 64,
                        o ->
                                new GradientOp.AccumulateRouteGrad(
                                        o.f32(tokens, 8),
                                        o.f32(tokens, 2),
                                        o.indices(8, tokens, 2),
                                        o.f32(tokens, 2),
                                        o.f32(tokens, 8),
                                        RouterSpec.softmax(true))),
                entry(
                        "DistillLoss",
                        LossOp.DistillLoss.class,
                        60 * logit,
                        o ->
                                new LossOp.DistillLoss(
                                        o.f32(logits, vocabulary),
                                        o.of(DType.F64, logits, 4),
                                        o.f32(logits, vocabulary),
                                        o.f32(logits, vocabulary),
                                        o.indices(vocabulary, logits),
                                        new LossOp.LossWeights(1, 0, 0, 0, 2, 0.5f),
                                        1)),
                entry(
                        "TopLogProbabilities",
                        LossOp.TopLogProbabilities.class,
                        40 * logit,
                        o ->
                                new LossOp.TopLogProbabilities(
                                        o.f32(logits, 64),
                                        o.of(DType.I32, logits, 64),
                                        o.f32(logits, vocabulary),
                                        1)),
                entry(
                        "DistillTopLoss",
                        LossOp.DistillTopLoss.class,
                        40 * logit,
                        o ->
                                new LossOp.DistillTopLoss(
                                        o.f32(logits, vocabulary),
                                        o.of(DType.F64, logits, 4),
                                        o.f32(logits, vocabulary),
                                        o.indices(vocabulary, logits, 64),
                                        o.f32(logits, 64),
                                        o.indices(vocabulary, logits),
                                        new LossOp.LossWeights(1, 0, 0, 0, 2, 0.5f),
                                        LossOp.Missing.REST,
                                        1)),
                doubles(
                        "AccumulateHiddenLoss",
                        LossOp.AccumulateHiddenLoss.class,
                        4 * stream,
                        o ->
                                new LossOp.AccumulateHiddenLoss(
                                        o.f32(tokens, hidden),
                                        o.of(DType.F64, tokens),
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, hidden),
                                        LossOp.Distance.MSE,
                                        1)),
                entry(
                        "AccumulateAttentionLoss",
                        LossOp.AccumulateAttentionLoss.class,
                        5 * scores,
                        o ->
                                new LossOp.AccumulateAttentionLoss(
                                        o.f32(tokens, hidden),
                                        o.f32(tokens, kvHeads * HEAD),
                                        o.of(DType.F64, tokens, heads),
                                        scores(o),
                                        scores(o),
                                        1)),
                entry(
                        "AccumulateAdamW",
                        OptimizerOp.AccumulateAdamW.class,
                        16 * weights,
                        o ->
                                new OptimizerOp.AccumulateAdamW(
                                        o.f32(inside, hidden),
                                        o.f32(inside, hidden),
                                        o.positive(inside, hidden),
                                        o.f32(inside, hidden),
                                        adam())),
                entry(
                        "AccumulateAdamW8",
                        OptimizerOp.AccumulateAdamW8.class,
                        60 * weights,
                        o ->
                                new OptimizerOp.AccumulateAdamW8(
                                        o.f32(inside, hidden),
                                        moment(o),
                                        moment(o),
                                        o.f32(inside, hidden),
                                        adam())),
                entry(
                        "AccumulateSignStep",
                        OptimizerOp.AccumulateSignStep.class,
                        8 * weights,
                        o ->
                                new OptimizerOp.AccumulateSignStep(
                                        o.f32(inside, hidden),
                                        o.positive(inside, FOUR.tiles().across(hidden)),
                                        o.f32(inside, hidden),
                                        o.of(DType.U8, inside, hidden),
                                        o.of(DType.U8, inside, FOUR.tiles().across(hidden)),
                                        FOUR,
                                        new OptimizerOp.SignSpec(0.01f, 0.001f, 0.9f))),
                entry(
                        "NegativeLogLikelihood",
                        LossOp.NegativeLogLikelihood.class,
                        20 * logit,
                        o ->
                                new LossOp.NegativeLogLikelihood(
                                        o.f32(logits),
                                        o.f32(logits, vocabulary),
                                        o.indices(vocabulary, logits))),
                entry(
                        "Divergence",
                        LossOp.Divergence.class,
                        40 * logit,
                        o ->
                                new LossOp.Divergence(
                                        o.f32(logits),
                                        o.f32(logits, vocabulary),
                                        o.f32(logits, vocabulary))),
                entry(
                        "ArgMax",
                        LossOp.ArgMax.class,
                        logit,
                        o -> new LossOp.ArgMax(o.of(DType.I32, logits), o.f32(logits, vocabulary))),
                entry(
                        "Zero",
                        ForwardOp.Zero.class,
                        0,
                        o -> new ForwardOp.Zero(o.f32(hidden, hidden))),
                entry(
                        "AccumulateGram",
                        StatisticOp.AccumulateGram.class,
                        product(hidden, hidden, tokens) / 2,
                        o ->
                                new StatisticOp.AccumulateGram(
                                        o.f32(hidden, hidden), o.f32(tokens, hidden), 1)),
                entry(
                                "Diagonal",
                                StatisticOp.Diagonal.class,
                                0,
                                o -> new StatisticOp.Diagonal(o.f32(hidden), o.f32(hidden, hidden)))
                        .touching(8 * hidden),
                entry(
                        "ShrinkCorrelations",
                        StatisticOp.ShrinkCorrelations.class,
                        hidden * hidden,
                        o ->
                                new StatisticOp.ShrinkCorrelations(
                                        o.f32(hidden, hidden), o.f32(hidden, hidden), 0.5f)),
                entry(
                        "GatherSymmetric",
                        StatisticOp.GatherSymmetric.class,
                        0,
                        o ->
                                new StatisticOp.GatherSymmetric(
                                        o.f32(hidden, hidden),
                                        o.f32(hidden, hidden),
                                        o.indices(hidden, hidden))),
                entry(
                        "GatherColumns",
                        StatisticOp.GatherColumns.class,
                        0,
                        o ->
                                new StatisticOp.GatherColumns(
                                        o.f32(inside, hidden),
                                        o.f32(inside, hidden),
                                        o.indices(hidden, hidden))),
                entry(
                        "CholeskyInverse",
                        StatisticOp.CholeskyInverse.class,
                        2 * Math.pow(hidden, 3) / 3,
                        o ->
                                new StatisticOp.CholeskyInverse(
                                        o.f32(hidden, hidden),
                                        o.of(DType.I32, 1),
                                        o.definite(hidden),
                                        1)),
                // Symmetric: half of the products; sums of a tile's in F64 are few beside them.
                entry(
                        "QuadraticForm",
                        StatisticOp.QuadraticForm.class,
                        product(inside, hidden, hidden) / 2,
                        o ->
                                new StatisticOp.QuadraticForm(
                                        o.of(DType.F64, inside),
                                        o.f32(inside, hidden),
                                        o.f32(hidden, hidden))),
                entry(
                        "Transpose",
                        StatisticOp.Transpose.class,
                        0,
                        o ->
                                new StatisticOp.Transpose(
                                        o.f32(hidden, inside), o.f32(inside, hidden))),
                doubles(
                        "AccumulateColumnNorms",
                        StatisticOp.AccumulateColumnNorms.class,
                        2 * stream,
                        o ->
                                new StatisticOp.AccumulateColumnNorms(
                                        o.of(DType.F64, hidden), o.f32(tokens, hidden), 2)),
                entry(
                        "AccumulateColumnMaxima",
                        StatisticOp.AccumulateColumnMaxima.class,
                        2 * stream,
                        o ->
                                new StatisticOp.AccumulateColumnMaxima(
                                        o.f32(hidden), o.f32(tokens, hidden))),
                doubles(
                        "RowSquares",
                        StatisticOp.RowSquares.class,
                        2 * stream,
                        o ->
                                new StatisticOp.RowSquares(
                                        o.of(DType.F64, tokens), o.f32(tokens, hidden))),
                entry(
                        "ChooseMask, half of each row",
                        CompressionOp.ChooseMask.class,
                        20 * weights,
                        o ->
                                new CompressionOp.ChooseMask(
                                        o.of(DType.U8, inside, hidden),
                                        o.of(DType.BF16, inside, hidden),
                                        o.positive(hidden),
                                        new CompressionOp.MaskRule.EachRow(hidden / 2),
                                        0,
                                        hidden)),
                entry(
                        "ChooseMask, 2 of 4",
                        CompressionOp.ChooseMask.class,
                        10 * weights,
                        o ->
                                new CompressionOp.ChooseMask(
                                        o.of(DType.U8, inside, hidden),
                                        o.of(DType.BF16, inside, hidden),
                                        o.positive(hidden),
                                        new CompressionOp.MaskRule.NOfM(2, 4),
                                        0,
                                        hidden)),
                entry(
                        "CountAbove",
                        StatisticOp.CountAbove.class,
                        2 * weights,
                        o ->
                                new StatisticOp.CountAbove(
                                        o.of(DType.F64, inside),
                                        o.of(DType.BF16, inside, hidden),
                                        o.positive(hidden),
                                        1)),
                entry(
                        "ApplyMask",
                        CompressionOp.ApplyMask.class,
                        weights,
                        o ->
                                new CompressionOp.ApplyMask(
                                        o.of(DType.BF16, inside, hidden),
                                        o.of(DType.BF16, inside, hidden),
                                        o.of(DType.U8, inside, hidden))),
                entry(
                        "ScaleColumns",
                        CompressionOp.ScaleColumns.class,
                        weights,
                        o ->
                                new CompressionOp.ScaleColumns(
                                        o.f32(inside, hidden),
                                        o.of(DType.BF16, inside, hidden),
                                        o.f32(hidden))),
                entry(
                        "Clamp",
                        CompressionOp.Clamp.class,
                        2 * weights,
                        o ->
                                new CompressionOp.Clamp(
                                        o.f32(inside, hidden),
                                        o.of(DType.BF16, inside, hidden),
                                        o.positive(inside, FOUR.tiles().across(hidden)))),
                entry(
                        "ChooseGrid",
                        CompressionOp.ChooseGrid.class,
                        4 * weights,
                        o -> grid(o, null)),
                doubles(
                        "ChooseGrid with the search",
                        CompressionOp.ChooseGrid.class,
                        9 * 4 * weights,
                        o -> grid(o, CompressionOp.GridSearch.DEFAULT)),
                entry(
                        "ChooseGrid by outputs",
                        CompressionOp.ChooseGrid.class,
                        9L * FOUR.tiles().cols() * weights,
                        o -> {
                            var each = (CompressionOp.ChooseGrid) grid(o, null);
                            return new CompressionOp.ChooseGrid(
                                    each.scales(),
                                    each.zeros(),
                                    each.w(),
                                    o.f32(hidden, FOUR.tiles().cols()),
                                    each.spec(),
                                    0,
                                    CompressionOp.GridSearch.DEFAULT,
                                    0,
                                    each.to());
                        }),
                entry(
                        "RoundToGrid",
                        CompressionOp.RoundToGrid.class,
                        6 * weights,
                        o ->
                                new CompressionOp.RoundToGrid(
                                        o.of(DType.U8, inside, hidden),
                                        null,
                                        o.of(DType.BF16, inside, hidden),
                                        o.of(DType.BF16, inside, FOUR.tiles().across(hidden)),
                                        o.of(DType.U8, inside, FOUR.tiles().across(hidden)),
                                        FOUR)),
                entry(
                        "TileMaxima",
                        SmallFloatOp.TileMaxima.class,
                        weights,
                        o ->
                                new SmallFloatOp.TileMaxima(
                                        o.f32(inside, hidden / 16),
                                        o.of(DType.BF16, inside, hidden),
                                        NESTED.tiles())),
                doubles(
                        "ChooseScales with the search",
                        SmallFloatOp.ChooseScales.class,
                        9 * 4 * weights,
                        o ->
                                new SmallFloatOp.ChooseScales(
                                        o.of(DType.F8_E4M3, inside, hidden / 16),
                                        o.positive(inside, hidden / 16),
                                        o.positive(1),
                                        DType.BF16,
                                        NESTED,
                                        o.of(DType.BF16, inside, hidden),
                                        null,
                                        CompressionOp.GridSearch.DEFAULT)),
                entry(
                        "RoundToFloats",
                        SmallFloatOp.RoundToFloats.class,
                        6 * weights,
                        o ->
                                new SmallFloatOp.RoundToFloats(
                                        o.of(DType.U8, inside, hidden),
                                        null,
                                        o.of(DType.BF16, inside, hidden),
                                        o.of(DType.F8_E4M3, inside, hidden / 16),
                                        o.positive(1),
                                        NESTED)),
                entry(
                                "AccumulateObsBlock, 128 columns",
                                CompressionOp.AccumulateObsBlock.class,
                                product(inside, 128, 128) / 2,
                                o ->
                                        new CompressionOp.AccumulateObsBlock(
                                                o.f32(inside, 128),
                                                o.f32(inside, hidden),
                                                o.definite(hidden),
                                                new CompressionOp.AccumulateObsBlock.Grid(
                                                        o.of(DType.U8, inside, hidden),
                                                        o.of(
                                                                DType.BF16,
                                                                inside,
                                                                FOUR.tiles().across(hidden)),
                                                        o.of(
                                                                DType.U8,
                                                                inside,
                                                                FOUR.tiles().across(hidden)),
                                                        o.indices(
                                                                (int) FOUR.tiles().across(hidden),
                                                                hidden),
                                                        FOUR),
                                                null,
                                                0,
                                                128))
                        .touching(13.0 * inside * 128),
                entry(
                                "AccumulateObsSpread of 128 columns",
                                CompressionOp.AccumulateObsSpread.class,
                                product(inside, hidden - 128, 128),
                                o ->
                                        new CompressionOp.AccumulateObsSpread(
                                                o.f32(inside, hidden),
                                                o.f32(inside, 128),
                                                o.definite(hidden),
                                                0,
                                                128))
                        .touching(8.0 * inside * (hidden - 128) + 4.0 * 128 * (inside + hidden)),
                entry(
                        "AccumulateDescent of a group",
                        CompressionOp.AccumulateDescent.class,
                        6.0 * inside * FOUR.tiles().width(hidden) * FOUR.tiles().width(hidden),
                        o ->
                                new CompressionOp.AccumulateDescent(
                                        o.f32(inside, FOUR.tiles().width(hidden)),
                                        o.f32(inside, hidden),
                                        o.of(DType.U8, inside, hidden),
                                        o.positive(inside, FOUR.tiles().across(hidden)),
                                        o.of(DType.U8, inside, FOUR.tiles().across(hidden)),
                                        o.definite(hidden),
                                        FOUR,
                                        0)),
                entry(
                        "PackCodes",
                        CompressionOp.PackCodes.class,
                        weights,
                        o ->
                                new CompressionOp.PackCodes(
                                        o.of(DType.I32, inside, FOUR.codes().words(hidden)),
                                        o.of(DType.U8, inside, hidden),
                                        4)),
                entry(
                        "Dequantize",
                        CompressionOp.Dequantize.class,
                        2 * weights,
                        o ->
                                new CompressionOp.Dequantize(
                                        o.f32(inside, hidden), o.packed(inside, hidden))));
    }

    private ForwardOp.Convolve convolve(Operands o) {
        return new ForwardOp.Convolve(
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                o.of(DType.BF16, hidden, TAPS),
                null,
                tokens);
    }

    private ForwardOp.Attention attention(Operands o) {
        return new ForwardOp.Attention(
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                o.f32(tokens, kvHeads * HEAD),
                o.f32(tokens, kvHeads * HEAD),
                null,
                null,
                attention);
    }

    private int pages() {
        return Math.ceilDiv(tokens, PAGE);
    }

    /// For so many sequences.
    private CacheOp.Pages pages(Operands o, int count, boolean turned) {
        Tensor data = o.of(DType.BF16, (long) count * pages() * kvHeads, (long) HEAD * PAGE);
        return new CacheOp.Pages(data, null, PAGE, turned);
    }

    /// A prompt's keys.
    private CacheOp.StorePages storePages(Operands o) {
        return new CacheOp.StorePages(
                pages(o, 1, true),
                o.f32(tokens, kvHeads * HEAD),
                List.of(new CacheOp.Run(0, attention.reach(), o.pages(0, pages()))));
    }

    private CacheOp.GatherPages gatherPages(Operands o) {
        return new CacheOp.GatherPages(
                o.f32(tokens, kvHeads * HEAD),
                pages(o, 1, false),
                new CacheOp.Run(0, attention.reach(), o.pages(0, pages())));
    }

    private CacheOp.PagedAttention pagedAttention(Operands o) {
        var reach = new AttentionSpec.Reach(1, tokens, 0, 0);
        return new CacheOp.PagedAttention(
                o.f32(sequences, hidden),
                o.f32(sequences, hidden),
                pages(o, sequences, true),
                pages(o, sequences, false),
                IntStream.range(0, sequences)
                        .mapToObj(i -> new CacheOp.Run(i, reach, o.pages(i * pages(), pages())))
                        .toList(),
                null,
                null,
                attention.with(reach));
    }

    /// Value heads that have keys of their own.
    private RecurrentOp.Heads states() {
        return new RecurrentOp.Heads(heads, heads, HEAD, HEAD);
    }

    private RecurrentOp.DeltaRule deltaRule(Operands o) {
        return new RecurrentOp.DeltaRule(
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                new RecurrentOp.Decay(o.f32(tokens, heads), o.f32(heads), o.f32(heads), 0),
                o.f32(tokens, heads),
                states(),
                RecurrentOp.whole(tokens, tokens));
    }

    private RecurrentOp.StateSpace stateSpace(Operands o) {
        return new RecurrentOp.StateSpace(
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                new RecurrentOp.Steps(
                        o.f32(tokens, heads),
                        o.f32(heads),
                        o.f32(heads),
                        0,
                        Float.POSITIVE_INFINITY),
                o.f32(heads),
                states(),
                RecurrentOp.whole(tokens, tokens));
    }

    private SparseOp.Keys.Whole keys(Operands o, int width) {
        return new SparseOp.Keys.Whole(o.f32(tokens, width), tokens);
    }

    private SparseOp.Choose choose(Operands o) {
        var choice = SparseOp.Choice.of(tokens / 4);
        return new SparseOp.Choose(
                o.f32(tokens, choice.keys()),
                o.f32(tokens, CHOOSING * HEAD),
                keys(o, HEAD),
                o.f32(tokens, CHOOSING),
                null,
                choice);
    }

    private SparseOp.ChosenAttention chosenAttention(Operands o) {
        return new SparseOp.ChosenAttention(
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                keys(o, HEAD),
                keys(o, HEAD),
                o.ascending(tokens, tokens / 4),
                new AttentionSpec.Heads(heads, 1, HEAD, HEAD),
                0.088f);
    }

    /// Entries that overlap.
    private CompressedOp.Compress compress(Operands o) {
        return new CompressedOp.Compress(
                o.f32(tokens, HEAD), keys(o, 4 * HEAD), o.f32(RATE, 2 * HEAD));
    }

    private CompressedOp.ChooseEntries chooseEntries(Operands o) {
        return new CompressedOp.ChooseEntries(
                o.f32(tokens, tokens / 4),
                o.f32(tokens, CHOOSING * HEAD),
                keys(o, HEAD),
                o.f32(tokens, CHOOSING),
                RATE);
    }

    private CompressedOp.CompressedAttention compressedAttention(Operands o) {
        return new CompressedOp.CompressedAttention(
                o.f32(tokens, hidden),
                o.f32(tokens, hidden),
                keys(o, HEAD),
                keys(o, HEAD),
                null,
                o.f32(heads),
                new CompressedOp.Sight(heads, HEAD, HEAD, RATE, 0.088f));
    }

    private LossOp.Scores scores(Operands o) {
        return new LossOp.Scores(
                o.f32(tokens, hidden), o.f32(tokens, kvHeads * HEAD), null, attention);
    }

    private Op grid(Operands o, CompressionOp.GridSearch search) {
        return new CompressionOp.ChooseGrid(
                o.of(DType.BF16, inside, FOUR.tiles().across(hidden)),
                o.of(DType.U8, inside, FOUR.tiles().across(hidden)),
                o.of(DType.BF16, inside, hidden),
                search == null ? null : o.positive(hidden),
                FOUR,
                0,
                search,
                0,
                (int) FOUR.tiles().across(hidden));
    }

    private OptimizerOp.Moment moment(Operands o) {
        return new OptimizerOp.Moment(
                o.of(DType.U8, inside, hidden),
                o.f32(OptimizerOp.Moment.scales((long) inside * hidden)));
    }

    private static OptimizerOp.AdamSpec adam() {
        return new OptimizerOp.AdamSpec(1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 10, 1);
    }
}
