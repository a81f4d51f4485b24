// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.ForwardOp.Activation;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;

/// One operation of every kind and of every awkward size.
public final class OpCases {
    /// @param bound of the normalised mean squared error of F32 and F64 outputs; 0 for the same
    ///   values. I32 outputs are always the same.
    public record Case(
            Class<? extends Op> op, String name, double bound, Function<Operands, Op> build) {}

    @FunctionalInterface
    public interface MakeWeight {
        Weight make(Operands operands, int out, int in);
    }

    public record WeightCase(String name, MakeWeight build) {
        /// Inputs that are no whole number of anything but the pairs that some need.
        int odd() {
            return name.startsWith(DType.F4.name()) ? 258 : 257;
        }
    }

    public static final List<WeightCase> WEIGHTS = weights();
    private static final CompressionOp.GridSearch SIGNED =
            new CompressionOp.GridSearch(9, 20, 2, true);

    // Behind what it is made of.
    public static final List<Case> ALL = all();

    /// Exact up to one rounding an element.
    static final double ROUNDING = 1e-13;

    static final double SUMS = 1e-10;

    /// Columns of a row that is a whole number of 16 bytes.
    private static final int WHOLE = 208;

    private OpCases() {}

    private static List<WeightCase> weights() {
        List<WeightCase> cases = new ArrayList<>();
        for (DType type : new DType[] {DType.F32, DType.BF16, DType.F16}) {
            cases.add(new WeightCase(type.toString(), (a, out, in) -> a.dense(type, out, in)));
        }
        cases.addAll(grouped());
        cases.add(scaled(Tiles.ROW, DType.F32));
        cases.add(scaled(Tiles.ROW, DType.BF16));
        cases.add(scaled(Tiles.TENSOR, DType.F16));
        cases.add(scaled(new Tiles(16, 20), DType.BF16));
        for (Codes.Floats codes : List.of(Codes.Floats.E2M1, Codes.Floats.E4M3)) {
            cases.add(scaled(codes, Tiles.groups(32), ScaleKind.POWER));
            cases.add(scaled(codes, Tiles.groups(16), ScaleKind.NESTED));
            cases.add(scaled(codes, new Tiles(16, 20), ScaleKind.NESTED));
        }
        cases.add(scaled(Codes.Floats.E2M1, Tiles.groups(24), ScaleKind.FLOAT));
        cases.add(new WeightCase("Q8_0", Operands::q8));
        return cases;
    }

    private static List<WeightCase> grouped() {
        List<WeightCase> cases = new ArrayList<>();
        for (int bits : new int[] {2, 3, 4, 8}) {
            for (DType type : new DType[] {DType.F32, DType.BF16, DType.F16}) {
                cases.add(packed(Encoding.ints(bits, 32, false), type, false));
            }
            cases.add(packed(Encoding.ints(bits, 64, false), DType.BF16, false));
            cases.add(packed(Encoding.ints(bits, 128, true), DType.BF16, false));
            cases.add(packed(Encoding.ints(bits, Tiles.ALL, true), DType.F16, false));
            cases.add(packed(Encoding.ints(bits, 128, false), DType.F16, true));
        }
        for (int bits : new int[] {5, 6, 7}) {
            cases.add(packed(Encoding.ints(bits, 32, false), DType.BF16, false));
        }
        cases.add(packed(Encoding.ints(4, 5, false), DType.F32, false));
        return cases;
    }

    private static WeightCase packed(
            Encoding.Grid<Codes.Ints> spec, DType scales, boolean groupIndex) {
        return new WeightCase(
                "%d bits, group %d, %s%s"
                        .formatted(
                                spec.codes().bits(),
                                spec.tiles().cols(),
                                scales,
                                groupIndex ? ", group index" : ""),
                (a, out, in) -> a.packed(spec, scales, groupIndex, out, in));
    }

    private static WeightCase scaled(Tiles tiles, DType scales) {
        return new WeightCase(
                "F8_E4M3, %s, %s".formatted(tiles.describe(), scales),
                (a, out, in) ->
                        a.scaled(new Encoding.Grid<>(Codes.Floats.E4M3, tiles), scales, out, in));
    }

    private static WeightCase scaled(Codes.Floats codes, Tiles tiles, ScaleKind kind) {
        var grid = new Encoding.Grid<>(codes, tiles, kind);
        return new WeightCase(grid.describe(), (a, out, in) -> a.scaled(grid, DType.F16, out, in));
    }

    private static List<Case> all() {
        List<Case> cases = new ArrayList<>();
        forward(cases);
        AttentionCases.forward(cases);
        ActivationCases.forward(cases);
        RouteCases.forward(cases);
        PageCases.all(cases);
        RecurrentCases.all(cases);
        SparseCases.all(cases);
        SinkhornCases.all(cases);
        CompressedCases.all(cases);
        experts(cases);
        evaluation(cases);
        linearAlgebra(cases);
        quantization(cases);
        pruning(cases);
        gradients(cases);
        training(cases);
        return cases;
    }

    /// Rows among which one is of zeros and one has what is not finite.
    private static void roundActivations(List<Case> cases) {
        var int8 = new Codes.Ints(8, true);
        var shifted = new Codes.Ints(8, false);
        List<Encoding.Grid<?>> dynamic = new ArrayList<>();
        for (Tiles tiles : List.of(Tiles.ROW, Tiles.groups(16), Tiles.groups(20))) {
            dynamic.add(new Encoding.Grid<>(Codes.Floats.E4M3, tiles));
            dynamic.add(new Encoding.Grid<>(int8, tiles));
            dynamic.add(new Encoding.Grid<>(shifted, tiles));
        }
        for (Codes.Floats codes : List.of(Codes.Floats.E4M3, Codes.Floats.E2M1)) {
            dynamic.add(new Encoding.Grid<>(codes, Tiles.groups(32), ScaleKind.POWER));
            dynamic.add(new Encoding.Grid<>(codes, Tiles.groups(16), ScaleKind.NESTED));
        }
        for (int cols : new int[] {1, 33, 257, WHOLE}) {
            for (Encoding.Grid<?> grid : dynamic) {
                boolean nested = grid.scales() == ScaleKind.NESTED;
                roundActivations(
                        cases,
                        new ActivationScheme(grid, true),
                        cols,
                        nested ? DType.F32 : null,
                        false);
            }
            for (DType type : new DType[] {DType.F32, DType.BF16}) {
                for (Codes codes : List.of(Codes.Floats.E4M3, int8, shifted)) {
                    roundActivations(
                            cases,
                            new ActivationScheme(codes, Tiles.TENSOR, false),
                            cols,
                            type,
                            codes.equals(shifted));
                }
            }
        }
        // Heads beside each other, each with a scale for all tokens.
        var heads = new ActivationScheme(Codes.Floats.E4M3, new Tiles(Tiles.ALL, 20), false);
        roundActivations(cases, heads, 60, DType.BF16, false);
    }

    /// @param number type of the number that the layer keeps; null for none
    private static void roundActivations(
            List<Case> cases, ActivationScheme scheme, int cols, DType number, boolean zero) {
        double value = scheme.dynamic() ? 300 : 0.004;
        cases.add(
                new Case(
                        ForwardOp.RoundActivations.class,
                        "roundActivations, %s, %s of %d".formatted(scheme.grid(), number, cols),
                        0,
                        a ->
                                new ForwardOp.RoundActivations(
                                        a.out(7, cols),
                                        activations(a, 7, cols),
                                        new InputRounding(
                                                scheme,
                                                number == null
                                                        ? null
                                                        : a.of(
                                                                number,
                                                                i -> value * (1 + i),
                                                                scheme.dynamic()
                                                                        ? 1
                                                                        : scheme.tiles()
                                                                                .across(cols)),
                                                zero ? a.of(DType.I8, _ -> -13, 1) : null))));
    }

    /// The same bits as the reference's, on every backend: sums are exact.
    private static void integerMatmul(List<Case> cases) {
        for (int[] size : new int[][] {{7, 3, 1}, {7, 77, 33}, {270, 130, 257}, {7, 530, WHOLE}}) {
            for (boolean symmetric : new boolean[] {true, false}) {
                for (DType type : new DType[] {DType.F32, DType.F16, DType.BF16}) {
                    var codes = new Codes.Ints(8, symmetric);
                    integerMatmul(cases, new ActivationScheme(codes, Tiles.ROW, true), size, type);
                    var given = new ActivationScheme(codes, Tiles.TENSOR, false);
                    integerMatmul(cases, given, size, type);
                }
            }
        }
        // Sums beyond the integers that an F32 holds, where nothing cancels.
        cases.add(
                new Case(
                        ForwardOp.IntegerMatmul.class,
                        "integerMatmul, largest sums",
                        0,
                        a ->
                                new ForwardOp.IntegerMatmul(
                                        a.out(3, 5),
                                        a.of(DType.F32, i -> i % 4001 == 7 ? -1 : -2, 3, 9001),
                                        InputRounding.dynamic(
                                                new ActivationScheme(
                                                        new Codes.Ints(8, true), Tiles.ROW, true)),
                                        new Weight.Grouped(
                                                Encoding.ints(8, Tiles.ALL, true),
                                                9001,
                                                a.of(DType.I32, i -> i / 2251 % 2 - 1, 5, 2251),
                                                a.of(DType.F32, i -> 0.3 + i, 5, 1),
                                                a.of(DType.U8, _ -> 128, 5, 1),
                                                null))));
    }

    private static void integerMatmul(
            List<Case> cases, ActivationScheme scheme, int[] size, DType type) {
        boolean zero = scheme.codes() instanceof Codes.Ints q && !q.symmetric();
        int in = size[2];
        cases.add(
                new Case(
                        ForwardOp.IntegerMatmul.class,
                        "integerMatmul, %s, %s, %s"
                                .formatted(scheme.describe(), type, Arrays.toString(size)),
                        0,
                        a ->
                                new ForwardOp.IntegerMatmul(
                                        a.out(size[0], size[1]),
                                        activations(a, size[0], in),
                                        scheme.dynamic()
                                                ? InputRounding.dynamic(scheme)
                                                : new InputRounding(
                                                        scheme,
                                                        a.of(type, _ -> 0.004, 1),
                                                        zero ? a.of(DType.I8, _ -> -13, 1) : null),
                                        a.packed(
                                                Encoding.ints(8, Tiles.ALL, true),
                                                type,
                                                false,
                                                size[1],
                                                in))));
    }

    private static Tensor activations(Operands a, int rows, int cols) {
        return a.of(
                DType.F32,
                i -> {
                    // Over four decades, so that some are below the normal numbers.
                    double x =
                            a.random().nextGaussian() * Math.pow(10, -4 * a.random().nextDouble());
                    return switch ((int) (i / cols)) {
                        case 1 -> 0;
                        case 2 -> i % cols == cols / 2 ? Double.NaN : x;
                        case 3 -> i % cols == 0 ? Double.POSITIVE_INFINITY : x;
                        default -> x;
                    };
                },
                rows,
                cols);
    }

    private static void forward(List<Case> cases) {
        roundActivations(cases);
        integerMatmul(cases);
        for (DType type : new DType[] {DType.F32, DType.BF16, DType.F16}) {
            cases.add(
                    new Case(
                            ForwardOp.Embed.class,
                            "embed " + type,
                            ROUNDING,
                            a ->
                                    new ForwardOp.Embed(
                                            a.out(7, 33),
                                            a.indices(50, 7),
                                            a.normal(type, 1, 50, 33),
                                            3)));
            cases.add(
                    new Case(
                            ForwardOp.AddRow.class,
                            "addRow " + type,
                            ROUNDING,
                            a ->
                                    new ForwardOp.AddRow(
                                            a.out(7, 33), a.normal(7, 33), a.normal(type, 1, 33))));
            cases.add(
                    new Case(
                            ForwardOp.MultiplyRow.class,
                            "multiplyRow " + type,
                            ROUNDING,
                            a ->
                                    new ForwardOp.MultiplyRow(
                                            a.out(7, 33),
                                            a.normal(7, 33),
                                            a.normal(type, 1, 33),
                                            1)));
            cases.add(
                    new Case(
                            ForwardOp.Scale.class,
                            "scale to " + type,
                            0,
                            a -> new ForwardOp.Scale(a.out(type, 1021), a.normal(1021), 0.7f)));
            cases.add(
                    new Case(
                            ForwardOp.Scale.class,
                            "scale from " + type,
                            ROUNDING,
                            a ->
                                    new ForwardOp.Scale(
                                            a.out(3, 1021), a.normal(type, 1e-3, 3, 1021), 1)));
        }
        for (int in : new int[] {1, 7, 16, 33, 128, 256, 257, 1021}) {
            for (int rows : new int[] {1, 7, 33}) {
                cases.add(matmul(rows, in, 33, WEIGHTS.get(0)));
            }
        }
        for (WeightCase w : WEIGHTS) {
            cases.add(matmul(7, w.odd(), 33, w));
            // A decoder's rows, at a width of small models.
            for (int rows : new int[] {1, 2, 3, 5, 8}) {
                cases.add(matmul(rows, 576, 37, w));
            }
            // More of k than a block of threads has at once.
            cases.add(matmul(1, 1064, 13, w));
            cases.add(
                    new Case(
                            CompressionOp.Dequantize.class,
                            "dequantize " + w.name(),
                            0,
                            a ->
                                    new CompressionOp.Dequantize(
                                            a.out(33, w.odd()), w.build().make(a, 33, w.odd()))));
            cases.add(
                    new Case(
                            CompressionOp.Dequantize.class,
                            "dequantize whole rows, " + w.name(),
                            0,
                            a ->
                                    new CompressionOp.Dequantize(
                                            a.out(5, 256), w.build().make(a, 5, 256))));
        }
        // More of k than a block's warps have at once.
        cases.add(matmul(17, 1300, 33, WEIGHTS.get(0)));
        // Many rows, whose weights are copied as they are.
        cases.add(matmul(130, 264, 136, WEIGHTS.get(1)));
        cases.add(matmul(130, 264, 136, WEIGHTS.get(2)));
        cases.add(matmul(530, 520, 203, WEIGHTS.get(0)));
        cases.add(matmul(7, 1, 1021, WEIGHTS.get(1)));
        cases.add(matmul(8, 2048, 9, WEIGHTS.get(1)));
        for (int rows : new int[] {3, 70}) {
            cases.add(
                    new Case(
                            ForwardOp.Matmul.class,
                            "matmul of %d rows with NaN and infinity in two of them"
                                    .formatted(rows),
                            SUMS,
                            a ->
                                    new ForwardOp.Matmul(
                                            a.out(rows, 33),
                                            a.of(
                                                    DType.F32,
                                                    i ->
                                                            i == 5
                                                                    ? Double.NaN
                                                                    : i == 2 * 64 + 9
                                                                            ? Double
                                                                                    .NEGATIVE_INFINITY
                                                                            : a.random()
                                                                                    .nextGaussian(),
                                                    rows,
                                                    64),
                                            a.dense(DType.BF16, 33, 64))));
        }
        cases.add(
                new Case(
                        ForwardOp.Scale.class,
                        "scale beyond F16",
                        0,
                        a -> new ForwardOp.Scale(a.out(DType.F16, 1, 6), extremes(a), 1e4f)));
        cases.add(
                new Case(
                        ForwardOp.Add.class,
                        "add extremes",
                        ROUNDING,
                        a -> new ForwardOp.Add(a.out(1, 6), extremes(a), extremes(a), -1)));
        for (int n : new int[] {1, 7, 33, 1021, 40000}) {
            cases.add(
                    new Case(
                            ForwardOp.Add.class,
                            "add " + n,
                            ROUNDING,
                            a ->
                                    new ForwardOp.Add(
                                            a.out(1, n), a.normal(1, n), a.normal(1, n), 0.3f)));
            for (float cap : new float[] {0.5f, 30}) {
                cases.add(
                        new Case(
                                ForwardOp.Softcap.class,
                                "softcap %d to %s".formatted(n, cap),
                                ROUNDING,
                                a -> new ForwardOp.Softcap(a.out(1, n), a.normal(1, n), cap)));
            }
        }
        for (Activation activation : Activation.values()) {
            cases.add(
                    new Case(
                            ForwardOp.Activate.class,
                            "activate " + activation,
                            ROUNDING,
                            a ->
                                    new ForwardOp.Activate(
                                            a.out(7, 33), a.normal(7, 33), activation)));
            cases.add(
                    new Case(
                            ForwardOp.Activate.class,
                            "activate extremes " + activation,
                            ROUNDING,
                            a -> new ForwardOp.Activate(a.out(1, 6), extremes(a), activation)));
            cases.add(
                    new Case(
                            ForwardOp.Gated.class,
                            "gated " + activation,
                            ROUNDING,
                            a ->
                                    new ForwardOp.Gated(
                                            a.out(5, 1021),
                                            a.normal(DType.F32, 3, 5, 1021),
                                            a.normal(5, 1021),
                                            activation)));
        }
        for (int cols : new int[] {1, 7, 33, 576, 1021}) {
            cases.add(
                    new Case(
                            ForwardOp.RmsNorm.class,
                            "rmsNorm " + cols,
                            ROUNDING,
                            a ->
                                    new ForwardOp.RmsNorm(
                                            a.out(7, cols),
                                            a.normal(7, cols),
                                            a.normal(DType.BF16, 1, cols),
                                            1e-5f,
                                            1)));
            cases.add(
                    new Case(
                            ForwardOp.LayerNorm.class,
                            "layerNorm " + cols,
                            ROUNDING,
                            a ->
                                    new ForwardOp.LayerNorm(
                                            a.out(7, cols),
                                            a.normal(7, cols),
                                            a.normal(DType.F16, 1, cols),
                                            a.normal(cols),
                                            1e-2f)));
        }
        cases.add(
                new Case(
                        ForwardOp.RmsNorm.class,
                        "rmsNorm without a weight",
                        ROUNDING,
                        a -> new ForwardOp.RmsNorm(a.out(3, 65), a.normal(3, 65), null, 1e-5f, 0)));
        cases.add(
                new Case(
                        ForwardOp.LayerNorm.class,
                        "layerNorm without parameters",
                        ROUNDING,
                        a ->
                                new ForwardOp.LayerNorm(
                                        a.out(3, 65), a.normal(3, 65), null, null, 1e-5f)));
        for (boolean interleaved : new boolean[] {false, true}) {
            for (int rotated : new int[] {6, 34, 64}) {
                cases.add(
                        new Case(
                                ForwardOp.Rope.class,
                                "rope %d %s".formatted(rotated, interleaved),
                                ROUNDING,
                                a ->
                                        new ForwardOp.Rope(
                                                a.out(14, 192),
                                                a.normal(14, 192),
                                                angles(a, 9, rotated),
                                                64,
                                                7,
                                                interleaved)));
            }
        }
        cases.add(
                new Case(
                        ForwardOp.Columns.class,
                        "columns",
                        0,
                        a -> new ForwardOp.Columns(a.out(7, 33), a.normal(7, 77), 40)));
        cases.add(
                new Case(
                        ForwardOp.Clip.class,
                        "clip",
                        0,
                        a -> new ForwardOp.Clip(a.out(7, 133), a.normal(7, 133), 0.7f)));
        cases.add(
                new Case(
                        GradientOp.AccumulateClipGrad.class,
                        "accumulateClipGrad",
                        ROUNDING,
                        a ->
                                new GradientOp.AccumulateClipGrad(
                                        sum(a, 7, 133), a.normal(7, 133), a.normal(7, 133), 0.7f)));
        cases.add(
                new Case(
                        ForwardOp.PutColumns.class,
                        "putColumns",
                        0,
                        a -> new ForwardOp.PutColumns(sum(a, 7, 77), a.normal(7, 33), 40)));
        cases.add(
                new Case(
                        ForwardOp.Multiply.class,
                        "multiply",
                        ROUNDING,
                        a ->
                                new ForwardOp.Multiply(
                                        a.out(7, 133), a.normal(7, 133), a.normal(7, 133))));
        cases.add(new Case(ForwardOp.Zero.class, "zero", 0, a -> new ForwardOp.Zero(a.out(7, 33))));
    }

    static Tensor extremes(Operands a) {
        double[] values = {
            0, Double.NaN, Double.POSITIVE_INFINITY, 1e30, -100, 100,
        };
        return a.of(DType.F32, i -> values[(int) i], 1, values.length);
    }

    private static Tensor angles(Operands a, int positions, int rotated) {
        return a.of(
                DType.F32,
                i -> {
                    double angle = i / rotated * Math.pow(100, -(i % rotated) / (double) rotated);
                    return i % rotated < rotated / 2 ? Math.cos(angle) : Math.sin(angle);
                },
                positions,
                rotated);
    }

    private static Case matmul(int rows, int in, int out, WeightCase w) {
        return new Case(
                ForwardOp.Matmul.class,
                "matmul %d x %d x %d, %s".formatted(rows, in, out, w.name()),
                SUMS,
                a ->
                        new ForwardOp.Matmul(
                                a.out(rows, out), a.normal(rows, in), w.build().make(a, out, in)));
    }

    private static void experts(List<Case> cases) {
        cases.add(
                new Case(
                        ForwardOp.GatherRows.class,
                        "gatherRows",
                        0,
                        a ->
                                new ForwardOp.GatherRows(
                                        a.out(9, 33), a.normal(5, 33), a.indices(5, 9))));
        cases.add(
                new Case(
                        ForwardOp.AccumulateRows.class,
                        "accumulateRows",
                        ROUNDING,
                        a ->
                                new ForwardOp.AccumulateRows(
                                        a.written(DType.F32, i -> i % 7, 5, 333),
                                        a.normal(19, 333),
                                        a.indices(5, 19),
                                        a.normal(19),
                                        0.5f)));
    }

    private static void evaluation(List<Case> cases) {
        for (int vocabulary : new int[] {1, 7, 1021, 5000}) {
            cases.add(
                    new Case(
                            LossOp.NegativeLogLikelihood.class,
                            "negativeLogLikelihood " + vocabulary,
                            ROUNDING,
                            a ->
                                    new LossOp.NegativeLogLikelihood(
                                            a.out(7),
                                            a.normal(DType.F32, 5, 7, vocabulary),
                                            a.indices(vocabulary, 7))));
            cases.add(
                    new Case(
                            LossOp.Divergence.class,
                            "divergence " + vocabulary,
                            ROUNDING,
                            a -> {
                                Tensor p = a.normal(DType.F32, 5, 7, vocabulary);
                                return new LossOp.Divergence(
                                        a.out(7), p, a.normal(DType.F32, 5, 7, vocabulary));
                            }));
            cases.add(
                    new Case(
                            LossOp.ArgMax.class,
                            "argMax " + vocabulary,
                            0,
                            a ->
                                    new LossOp.ArgMax(
                                            a.out(DType.I32, 7),
                                            a.of(
                                                    DType.F32,
                                                    _ -> a.random().nextInt(100),
                                                    7,
                                                    vocabulary))));
        }
    }

    private static void linearAlgebra(List<Case> cases) {
        for (int n : new int[] {1, 7, 33, 130, 136, 203, 320}) {
            cases.add(
                    new Case(
                            StatisticOp.AccumulateGram.class,
                            "accumulateGram " + n,
                            SUMS,
                            a ->
                                    new StatisticOp.AccumulateGram(
                                            a.written(DType.F32, _ -> 3, n, n),
                                            a.normal(300, n),
                                            0.5f)));
            cases.add(
                    new Case(
                            StatisticOp.Diagonal.class,
                            "diagonal " + n,
                            0,
                            a -> new StatisticOp.Diagonal(a.out(n), a.normal(n, n))));
            cases.add(
                    new Case(
                            StatisticOp.ShrinkCorrelations.class,
                            "shrinkCorrelations " + n,
                            ROUNDING,
                            a ->
                                    new StatisticOp.ShrinkCorrelations(
                                            a.out(n, n), a.normal(n, n), 0.75f)));
            cases.add(
                    new Case(
                            StatisticOp.GatherSymmetric.class,
                            "gatherSymmetric " + n,
                            0,
                            a ->
                                    new StatisticOp.GatherSymmetric(
                                            a.out(n, n), a.normal(n, n), a.permutation(n))));
            cases.add(
                    new Case(
                            StatisticOp.CholeskyInverse.class,
                            "choleskyInverse " + n,
                            SUMS,
                            a ->
                                    new StatisticOp.CholeskyInverse(
                                            a.out(n, n), a.out(DType.I32, 1), a.gram(n), 0.01f)));
            cases.add(
                    new Case(
                            StatisticOp.QuadraticForm.class,
                            "quadraticForm " + n,
                            SUMS,
                            a ->
                                    new StatisticOp.QuadraticForm(
                                            a.out(DType.F64, 9), a.normal(9, n), a.gram(n))));
        }
        cases.add(
                new Case(
                        StatisticOp.QuadraticForm.class,
                        "quadraticForm of several tiles of columns",
                        SUMS,
                        a ->
                                new StatisticOp.QuadraticForm(
                                        a.out(DType.F64, 65),
                                        a.normal(65, 1100),
                                        a.of(
                                                DType.F32,
                                                i -> 1.0 / (1 + Math.abs(i / 1100 - i % 1100)),
                                                1100,
                                                1100))));
        for (DType type : new DType[] {DType.F32, DType.U8}) {
            cases.add(
                    new Case(
                            StatisticOp.GatherColumns.class,
                            "gatherColumns " + type,
                            0,
                            a ->
                                    new StatisticOp.GatherColumns(
                                            a.out(type, 7, 33),
                                            a.of(type, i -> i, 7, 33),
                                            a.permutation(33))));
        }
    }

    private static Case packCodes(int bits, int in) {
        return new Case(
                CompressionOp.PackCodes.class,
                "packCodes %d of %d bits".formatted(in, bits),
                0,
                a ->
                        new CompressionOp.PackCodes(
                                a.out(DType.I32, 3, Math.ceilDiv(in * bits, 32)),
                                a.of(DType.U8, _ -> a.random().nextInt(1 << bits), 3, in),
                                bits));
    }

    private static void quantization(List<Case> cases) {
        for (int bits : new int[] {2, 3, 4, 8}) {
            for (boolean symmetric : new boolean[] {false, true}) {
                for (int group : new int[] {32, Tiles.ALL}) {
                    Encoding.Grid<Codes.Ints> spec = Encoding.ints(bits, group, symmetric);
                    for (DType type : new DType[] {DType.F32, DType.BF16, DType.F16}) {
                        cases.add(chooseGrid(spec, type, 203, null));
                        cases.add(chooseGrid(spec, type, 203, CompressionOp.GridSearch.DEFAULT));
                        cases.add(chooseGrid(spec, type, 203, SIGNED));
                        cases.add(chooseGridTogether(spec, type, 203));
                        cases.add(gptqBlock(spec, type, 203, 64, 120));
                    }
                    cases.add(roundToGrid(spec, 203));
                }
            }
            // Rows that can be read four columns at a time; blocks of more than 128 columns.
            Encoding.Grid<Codes.Ints> whole = Encoding.ints(bits, 32, false);
            cases.add(chooseGrid(whole, DType.F16, WHOLE, null));
            cases.add(chooseGrid(whole, DType.F16, WHOLE, SIGNED));
            cases.add(chooseGridTogether(whole, DType.F16, WHOLE));
            cases.add(roundToGrid(whole, WHOLE));
            cases.add(gptqBlock(whole, DType.F16, WHOLE, 32, 182));
            cases.add(gptqBlock(whole, DType.F32, 203, 30, 180));
        }
        for (int bits = 2; bits <= 8; bits++) {
            for (int in : new int[] {1, 7, 33, 128, 1021}) {
                cases.add(packCodes(bits, in));
            }
        }
        SmallFloatCases.add(cases);
        cases.add(descent(Encoding.ints(4, 32, true), DType.F32, 1));
        cases.add(descent(Encoding.ints(4, 48, false), DType.BF16, 0));
        cases.add(descent(Encoding.ints(4, Tiles.ALL, false), DType.F32, 0));
        cases.add(
                new Case(
                        CompressionOp.AccumulateObsSpread.class,
                        "obsSpread",
                        SUMS,
                        a ->
                                new CompressionOp.AccumulateObsSpread(
                                        a.written(DType.F32, i -> i % 11, 33, 203),
                                        a.normal(33, 40),
                                        a.upper(203),
                                        64,
                                        104)));
        cases.add(
                new Case(
                        CompressionOp.AccumulateObsSpread.class,
                        "obsSpread of the last block",
                        SUMS,
                        a ->
                                new CompressionOp.AccumulateObsSpread(
                                        a.written(DType.F32, i -> i % 11, 33, 104),
                                        a.normal(33, 40),
                                        a.upper(104),
                                        64,
                                        104)));
    }

    private static Case descent(Encoding.Grid<Codes.Ints> spec, DType scales, int group) {
        int cols = 96;
        int groups = (int) spec.tiles().across(cols);
        int n = (int) Math.min(cols, spec.tiles().width(cols));
        return new Case(
                CompressionOp.AccumulateDescent.class,
                name("descent", spec, scales, cols),
                SUMS,
                a ->
                        new CompressionOp.AccumulateDescent(
                                a.out(19, n),
                                a.normal(19, cols),
                                a.written(DType.U8, i -> i * 7 % 16, 19, cols),
                                a.written(scales, OpCases::someNegative, 19, groups),
                                a.of(DType.U8, i -> 7 + i % 3, 19, groups),
                                a.of(
                                        DType.F32,
                                        i -> 1.0 / (1 + Math.abs(i / cols - i % cols)),
                                        cols,
                                        cols),
                                spec,
                                group));
    }

    private static String name(String op, Encoding.Grid<Codes.Ints> spec, DType scales, int cols) {
        return "%s, %d bits, group %d, %s, %s, %d columns"
                .formatted(
                        op,
                        spec.codes().bits(),
                        spec.tiles().cols(),
                        spec.codes().symmetric() ? "symmetric" : "asymmetric",
                        scales,
                        cols);
    }

    /// Neighbours go together, the less the farther they are apart.
    private static Case chooseGridTogether(Encoding.Grid<Codes.Ints> spec, DType scales, int cols) {
        int width = (int) Math.min(cols, spec.tiles().width(cols));
        return chooseGrid(
                spec,
                scales,
                cols,
                SIGNED,
                " by outputs",
                a ->
                        a.of(
                                DType.F32,
                                i -> Math.pow(0.9, Math.abs(i / width % width - i % width)),
                                cols,
                                width));
    }

    private static Case chooseGrid(
            Encoding.Grid<Codes.Ints> spec,
            DType scales,
            int cols,
            CompressionOp.GridSearch search) {
        String how = search == null ? "" : search.signs() ? " with signs" : " with search";
        return chooseGrid(
                spec,
                scales,
                cols,
                search,
                how,
                a -> search == null ? null : a.of(DType.F32, i -> 1 + i % 5, cols));
    }

    private static Case chooseGrid(
            Encoding.Grid<Codes.Ints> spec,
            DType scales,
            int cols,
            CompressionOp.GridSearch search,
            String how,
            Function<Operands, Tensor> importance) {
        return new Case(
                CompressionOp.ChooseGrid.class,
                name("chooseGrid" + how, spec, scales, cols),
                0,
                a ->
                        new CompressionOp.ChooseGrid(
                                a.out(scales, 19, spec.tiles().across(cols)),
                                a.out(DType.U8, 19, spec.tiles().across(cols)),
                                // Some groups are all zero.
                                a.of(
                                        DType.F32,
                                        i -> i < 60 ? 0 : 0.1 * a.random().nextGaussian(),
                                        19,
                                        cols),
                                importance.apply(a),
                                spec,
                                spec.codes().bits() == 3 ? 1 : 0,
                                search,
                                0,
                                (int) spec.tiles().across(cols)));
    }

    private static Case roundToGrid(Encoding.Grid<Codes.Ints> spec, int cols) {
        return new Case(
                CompressionOp.RoundToGrid.class,
                name("roundToGrid", spec, DType.F32, cols),
                0,
                a ->
                        new CompressionOp.RoundToGrid(
                                a.out(DType.U8, 19, cols),
                                a.out(DType.F64, 19, 2),
                                // Multiples of a quarter, so that there are ties.
                                a.of(
                                        DType.F32,
                                        _ -> Math.rint(16 * a.random().nextGaussian()) / 4,
                                        19,
                                        cols),
                                a.of(
                                        DType.F32,
                                        i -> 0.5 + 0.25 * (i % 3),
                                        19,
                                        spec.tiles().across(cols)),
                                a.of(DType.U8, i -> i % 3, 19, spec.tiles().across(cols)),
                                spec));
    }

    private static Case gptqBlock(
            Encoding.Grid<Codes.Ints> spec, DType scales, int cols, int from, int to) {
        return new Case(
                CompressionOp.AccumulateObsBlock.class,
                name("gptqBlock", spec, scales, cols),
                1e-10,
                a -> obsBlock(a, grid(a, spec, scales, cols), null, cols, from, to));
    }

    private static CompressionOp.AccumulateObsBlock.Grid grid(
            Operands a, Encoding.Grid<Codes.Ints> spec, DType scales, int cols) {
        return new CompressionOp.AccumulateObsBlock.Grid(
                a.written(DType.U8, i -> i % 5, 19, cols),
                a.of(scales, i -> 0.2 + 0.01 * (i % 7), 19, spec.tiles().across(cols)),
                a.of(
                        DType.U8,
                        i -> spec.codes().middleCode() - i % 2,
                        19,
                        spec.tiles().across(cols)),
                a.indices((int) spec.tiles().across(cols), cols),
                spec);
    }

    static Op obsBlock(
            Operands a,
            CompressionOp.AccumulateObsBlock.Grid grid,
            CompressionOp.AccumulateObsBlock.Pruning pruning,
            int cols,
            int from,
            int to) {
        return new CompressionOp.AccumulateObsBlock(
                a.out(19, to - from),
                a.written(DType.F32, _ -> a.random().nextGaussian(), 19, cols),
                a.upper(cols),
                grid,
                pruning,
                from,
                to);
    }

    private static void gradients(List<Case> cases) {
        for (WeightCase w : WEIGHTS) {
            cases.add(
                    new Case(
                            GradientOp.AccumulateMatmulInput.class,
                            "matmulInput " + w.name(),
                            SUMS,
                            a ->
                                    new GradientOp.AccumulateMatmulInput(
                                            sum(a, 7, w.odd()),
                                            a.normal(7, 33),
                                            w.build().make(a, 33, w.odd()))));
        }
        for (WeightCase w : grouped()) {
            cases.add(
                    new Case(
                            GradientOp.AccumulateScales.class,
                            "scales " + w.name(),
                            ROUNDING,
                            a -> {
                                var packed = (Weight.Grouped) w.build().make(a, 33, w.odd());
                                return new GradientOp.AccumulateScales(
                                        sum(a, 33, (int) packed.scales().cols()),
                                        a.normal(33, w.odd()),
                                        packed);
                            }));
        }
        for (WeightCase w : WEIGHTS.subList(0, 3)) {
            cases.add(
                    new Case(
                            GradientOp.AccumulateMatmulInput.class,
                            "matmulInput of many rows, " + w.name(),
                            SUMS,
                            a ->
                                    new GradientOp.AccumulateMatmulInput(
                                            sum(a, 130, 136),
                                            a.normal(130, 200),
                                            w.build().make(a, 200, 136))));
        }
        for (int rows : new int[] {1, 7, 130, 300}) {
            cases.add(
                    new Case(
                            GradientOp.AccumulateOuter.class,
                            "outer " + rows,
                            SUMS,
                            a ->
                                    new GradientOp.AccumulateOuter(
                                            sum(a, 33, 77),
                                            a.normal(rows, 33),
                                            a.normal(rows, 77))));
            cases.add(
                    new Case(
                            GradientOp.AccumulateColumnSums.class,
                            "columnSums " + rows,
                            ROUNDING,
                            a ->
                                    new GradientOp.AccumulateColumnSums(
                                            a.written(DType.F32, i -> i % 7, 333),
                                            a.normal(rows, 333))));
        }
        for (int n : new int[] {1, 7, 33, 1021, 40000}) {
            cases.add(
                    new Case(
                            GradientOp.AccumulateScaled.class,
                            "accumulateScaled " + n,
                            ROUNDING,
                            a ->
                                    new GradientOp.AccumulateScaled(
                                            sum(a, 1, n), a.normal(1, n), 0.3f)));
            cases.add(
                    new Case(
                            GradientOp.AccumulateSoftcapGrad.class,
                            "softcapGrad " + n,
                            ROUNDING,
                            a ->
                                    new GradientOp.AccumulateSoftcapGrad(
                                            sum(a, 1, n),
                                            a.normal(1, n),
                                            a.of(DType.F32, i -> 2 * Math.sin(i), 1, n),
                                            2)));
        }
        cases.add(
                new Case(
                        GradientOp.AccumulateColumns.class,
                        "accumulateColumns",
                        ROUNDING,
                        a -> new GradientOp.AccumulateColumns(sum(a, 7, 77), a.normal(7, 33), 40)));
        for (Activation activation : Activation.values()) {
            cases.add(
                    new Case(
                            GradientOp.AccumulateActivateGrad.class,
                            "activateGrad " + activation,
                            SUMS,
                            a ->
                                    new GradientOp.AccumulateActivateGrad(
                                            sum(a, 7, 133),
                                            a.normal(7, 133),
                                            a.normal(DType.F32, 2, 7, 133),
                                            activation)));
            cases.add(
                    new Case(
                            GradientOp.AccumulateGatedGrad.class,
                            "gatedGrad " + activation,
                            SUMS,
                            a ->
                                    new GradientOp.AccumulateGatedGrad(
                                            sum(a, 5, 321),
                                            sum(a, 5, 321),
                                            a.normal(5, 321),
                                            a.normal(DType.F32, 2, 5, 321),
                                            a.normal(5, 321),
                                            activation)));
        }
        for (int cols : new int[] {1, 7, 33, 576}) {
            for (boolean weighted : new boolean[] {true, false}) {
                cases.add(
                        new Case(
                                GradientOp.AccumulateRmsNormGrad.class,
                                "rmsNormGrad %d, weight %s".formatted(cols, weighted),
                                SUMS,
                                a ->
                                        new GradientOp.AccumulateRmsNormGrad(
                                                sum(a, 7, cols),
                                                weighted
                                                        ? a.written(DType.F32, i -> i % 3, cols)
                                                        : null,
                                                a.normal(7, cols),
                                                a.normal(7, cols),
                                                weighted ? a.normal(cols) : null,
                                                1e-2f,
                                                weighted ? 1 : 0)));
                cases.add(
                        new Case(
                                GradientOp.AccumulateLayerNormGrad.class,
                                "layerNormGrad %d, weight %s".formatted(cols, weighted),
                                SUMS,
                                a ->
                                        new GradientOp.AccumulateLayerNormGrad(
                                                sum(a, 7, cols),
                                                weighted
                                                        ? a.written(DType.F32, i -> i % 3, cols)
                                                        : null,
                                                weighted
                                                        ? a.written(DType.F32, i -> i % 5, cols)
                                                        : null,
                                                a.normal(7, cols),
                                                a.normal(7, cols),
                                                weighted ? a.normal(DType.BF16, 1, cols) : null,
                                                1e-2f)));
            }
        }
        for (boolean interleaved : new boolean[] {false, true}) {
            for (int rotated : new int[] {6, 34, 64}) {
                cases.add(
                        new Case(
                                GradientOp.AccumulateRopeGrad.class,
                                "ropeGrad %d %s".formatted(rotated, interleaved),
                                ROUNDING,
                                a ->
                                        new GradientOp.AccumulateRopeGrad(
                                                sum(a, 14, 192),
                                                a.normal(14, 192),
                                                angles(a, 9, rotated),
                                                64,
                                                7,
                                                interleaved)));
            }
        }
        AttentionCases.gradients(cases);
        ActivationCases.gradients(cases);
        RouteCases.gradients(cases);
        for (boolean weighted : new boolean[] {true, false}) {
            cases.add(
                    new Case(
                            GradientOp.AccumulateRowsGrad.class,
                            "accumulateRowsGrad, weights " + weighted,
                            ROUNDING,
                            a ->
                                    new GradientOp.AccumulateRowsGrad(
                                            sum(a, 19, 333),
                                            weighted ? a.written(DType.F32, i -> i % 3, 19) : null,
                                            a.normal(5, 333),
                                            a.normal(19, 333),
                                            a.indices(5, 19),
                                            weighted ? a.normal(19) : null,
                                            0.5f)));
        }
    }

    private static void training(List<Case> cases) {
        List<LossOp.LossWeights> all =
                List.of(
                        new LossOp.LossWeights(1, 0, 0, 0, 1, 0.5f),
                        new LossOp.LossWeights(0.7f, 0, 0, 0.3f, 2, 0.5f),
                        new LossOp.LossWeights(0, 1, 0, 0, 1.5f, 0.5f),
                        new LossOp.LossWeights(0, 0, 1, 0, 0.9f, 0.3f),
                        new LossOp.LossWeights(0, 0, 0, 1, 1, 0.5f),
                        new LossOp.LossWeights(0.2f, 0.3f, 0.4f, 0.1f, 3, 0.8f));
        for (LossOp.LossWeights w : all) {
            for (int vocabulary : new int[] {1, 7, 333}) {
                cases.add(
                        new Case(
                                LossOp.DistillLoss.class,
                                "distillLoss %d, %s".formatted(vocabulary, w),
                                1e-7,
                                a ->
                                        new LossOp.DistillLoss(
                                                a.out(7, vocabulary),
                                                a.out(DType.F64, 7, 4),
                                                a.normal(DType.F32, 2, 7, vocabulary),
                                                w.asksTeacher()
                                                        ? a.normal(DType.F32, 2, 7, vocabulary)
                                                        : null,
                                                a.of(
                                                        DType.I32,
                                                        i ->
                                                                i % vocabulary
                                                                        - (i == 3 ? vocabulary : 0),
                                                        7),
                                                w,
                                                0.5f)));
            }
        }
        for (LossOp.Distance distance : LossOp.Distance.values()) {
            for (boolean learns : new boolean[] {true, false}) {
                cases.add(
                        new Case(
                                LossOp.AccumulateHiddenLoss.class,
                                "hiddenLoss %s, learns %s".formatted(distance, learns),
                                1e-6,
                                a ->
                                        new LossOp.AccumulateHiddenLoss(
                                                learns ? sum(a, 9, 37) : null,
                                                a.out(DType.F64, 9),
                                                a.normal(9, 37),
                                                a.normal(9, 37),
                                                distance,
                                                3f)));
            }
        }
        AttentionCases.losses(cases);
        for (int[] size : new int[][] {{1, 1}, {7, 7}, {7, 1}, {333, 1}, {333, 64}, {1021, 200}}) {
            tops(cases, all, size[0], size[1]);
        }
        cases.add(
                new Case(
                        OptimizerOp.AccumulateAdamW.class,
                        "adamW",
                        ROUNDING,
                        a ->
                                new OptimizerOp.AccumulateAdamW(
                                        a.written(DType.F32, i -> i % 7, 5, 333),
                                        a.written(DType.F32, i -> 0.1 * (i % 3), 5, 333),
                                        a.written(DType.F32, i -> 0.01 * (i % 5), 5, 333),
                                        a.normal(5, 333),
                                        new OptimizerOp.AdamSpec(
                                                1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 3, 0.5f))));
        for (int group : new int[] {16, 48, Tiles.ALL}) {
            for (boolean symmetric : new boolean[] {true, false}) {
                cases.add(signStep(Encoding.ints(4, group, symmetric)));
            }
        }
        for (int n : new int[] {1, 255, 256, 257, 40000}) {
            cases.add(
                    new Case(
                            OptimizerOp.AccumulateAdamW8.class,
                            "adamW8 " + n,
                            0,
                            a -> adamW8(a, n)));
        }
    }

    private static double someNegative(long i) {
        return (0.5 + 0.125 * (i % 3)) * (i % 4 == 1 ? -1 : 1);
    }

    /// Some weights begin beyond the grid, some gradients are 0.
    private static Case signStep(Encoding.Grid<Codes.Ints> spec) {
        int cols = 144;
        int groups = (int) spec.tiles().across(cols);
        return new Case(
                OptimizerOp.AccumulateSignStep.class,
                name("signStep", spec, DType.F32, cols),
                ROUNDING,
                a ->
                        new OptimizerOp.AccumulateSignStep(
                                a.written(DType.F32, i -> (i % 23 - 11) / 2.0, 5, cols),
                                a.written(DType.F32, OpCases::someNegative, 5, groups),
                                a.written(DType.F32, i -> (i * 7 % 13 - 6) / 4.0, 5, cols),
                                a.of(DType.U8, i -> i % 16, 5, cols),
                                a.of(DType.U8, i -> 7 + i % 3, 5, groups),
                                spec,
                                new OptimizerOp.SignSpec(0.125f, 0.01f, 0.75f)));
    }

    /// Every code occurs, the first block's moments are zeros, and gradients of many sizes.
    private static Op adamW8(Operands a, int n) {
        int scales = (int) OptimizerOp.Moment.scales(n);
        return new OptimizerOp.AccumulateAdamW8(
                a.written(DType.F32, i -> i % 7, 1, n),
                new OptimizerOp.Moment(
                        a.written(DType.U8, i -> i * 7 % 256, 1, n),
                        a.written(DType.F32, i -> 0.1 * i, scales)),
                new OptimizerOp.Moment(
                        a.written(DType.U8, i -> i * 11 % 256, 1, n),
                        a.written(DType.F32, i -> 0.02 * i, scales)),
                // Zeros in the third block, whatever its moments.
                a.of(
                        DType.F32,
                        i -> i / 256 == 2 ? 0 : a.random().nextGaussian() * Math.pow(10, -(i % 9)),
                        1,
                        n),
                new OptimizerOp.AdamSpec(1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 3, 0.5f));
    }

    private static void tops(
            List<Case> cases, List<LossOp.LossWeights> all, int vocabulary, int k) {
        for (float temperature : new float[] {1, 2.5f}) {
            cases.add(
                    new Case(
                            LossOp.TopLogProbabilities.class,
                            "topLogProbabilities %d of %d at %s"
                                    .formatted(k, vocabulary, temperature),
                            ROUNDING,
                            a ->
                                    new LossOp.TopLogProbabilities(
                                            a.out(7, k),
                                            a.out(DType.I32, 7, k),
                                            // Quarters, so that many are equal; row 0 is all zero.
                                            a.of(
                                                    DType.F32,
                                                    i ->
                                                            i < vocabulary
                                                                    ? i % 2 == 0 ? 0.0 : -0.0
                                                                    : Math.rint(
                                                                                    8
                                                                                            * a.random()
                                                                                                    .nextGaussian())
                                                                            / 4,
                                                    7,
                                                    vocabulary),
                                            temperature)));
        }
        for (LossOp.LossWeights w : all) {
            for (LossOp.Missing missing : LossOp.Missing.values()) {
                if (missing == LossOp.Missing.REST || w.reverse() == 0) {
                    cases.add(topLoss(w, missing, vocabulary, k));
                }
            }
        }
    }

    private static Case topLoss(
            LossOp.LossWeights w, LossOp.Missing missing, int vocabulary, int k) {
        return new Case(
                LossOp.DistillTopLoss.class,
                "distillTopLoss %d of %d, %s, %s".formatted(k, vocabulary, missing, w),
                1e-7,
                a -> {
                    Tensor teacher = a.normal(DType.F32, 2, 7, vocabulary);
                    Tensor values = a.of(DType.F32, _ -> 0, 7, k);
                    Tensor ids = a.of(DType.I32, _ -> 0, 7, k);
                    a.run(new LossOp.TopLogProbabilities(values, ids, teacher, w.temperature()));
                    return new LossOp.DistillTopLoss(
                            a.out(7, vocabulary),
                            a.out(DType.F64, 7, 4),
                            a.normal(DType.F32, 2, 7, vocabulary),
                            ids,
                            values,
                            a.of(DType.I32, i -> i % vocabulary - (i == 3 ? vocabulary : 0), 7),
                            w,
                            missing,
                            0.5f);
                });
    }

    /// A gradient that holds something already.
    static Tensor sum(Operands a, long... dims) {
        return a.written(DType.F32, i -> i % 11 - 5, dims);
    }

    private static void pruning(List<Case> cases) {
        Encoding.Grid<Codes.Ints> four = Encoding.ints(4, 32, false);
        for (boolean rounds : new boolean[] {false, true}) {
            Encoding.Grid<Codes.Ints> spec = rounds ? four : null;
            cases.add(maskedBlock(spec, 203, 64, 120));
            cases.add(maskedBlock(spec, WHOLE, 32, 182));
            for (int n : new int[] {2, 4, 5}) {
                cases.add(prunedBlock(spec, new CompressionOp.MaskRule.NOfM(n, 8), 203, 64, 120));
            }
            cases.add(prunedBlock(spec, new CompressionOp.MaskRule.NOfM(2, 8), WHOLE, 32, 184));
            cases.add(prunedBlock(spec, new CompressionOp.MaskRule.NOfM(2, 5), 203, 30, 180));
            // Wider than what a block of threads keeps.
            cases.add(prunedBlock(spec, new CompressionOp.MaskRule.NOfM(70, 140), 203, 0, 140));
        }
        List<CompressionOp.MaskRule> rules =
                List.of(
                        new CompressionOp.MaskRule.EachRow(0),
                        new CompressionOp.MaskRule.EachRow(77),
                        new CompressionOp.MaskRule.EachRow(160),
                        new CompressionOp.MaskRule.Together(0),
                        new CompressionOp.MaskRule.Together(1234),
                        new CompressionOp.MaskRule.Together(19 * 160),
                        new CompressionOp.MaskRule.Zeros(),
                        new CompressionOp.MaskRule.NOfM(2, 4),
                        new CompressionOp.MaskRule.NOfM(0, 5),
                        new CompressionOp.MaskRule.NOfM(8, 8));
        for (CompressionOp.MaskRule rule : rules) {
            for (DType type : new DType[] {DType.F32, DType.BF16}) {
                cases.add(chooseMask(rule, type, 19, 203, 40, 200));
                cases.add(chooseMask(rule, type, 19, WHOLE, 40, 200));
            }
        }
        for (int cols : new int[] {9501, 9600}) {
            cases.add(
                    chooseMask(
                            new CompressionOp.MaskRule.EachRow(4321), DType.F32, 2, cols, 0, cols));
            cases.add(
                    chooseMask(
                            new CompressionOp.MaskRule.Together(6543),
                            DType.F32,
                            2,
                            cols,
                            0,
                            cols));
            cases.add(
                    chooseMask(new CompressionOp.MaskRule.NOfM(1, 3), DType.F32, 2, cols, 0, cols));
        }
        for (DType type : new DType[] {DType.F32, DType.F16}) {
            cases.add(
                    new Case(
                            CompressionOp.ApplyMask.class,
                            "applyMask " + type,
                            0,
                            a ->
                                    new CompressionOp.ApplyMask(
                                            a.out(type, 7, 33),
                                            a.normal(type, 1, 7, 33),
                                            a.of(DType.U8, i -> i % 3 % 2, 7, 33))));
            for (int cols : new int[] {203, WHOLE}) {
                cases.add(
                        new Case(
                                StatisticOp.CountAbove.class,
                                "countAbove %s of %d".formatted(type, cols),
                                0,
                                a ->
                                        new StatisticOp.CountAbove(
                                                a.out(DType.F64, 19),
                                                a.of(
                                                        type,
                                                        _ -> a.random().nextInt(9) - 4,
                                                        19,
                                                        cols),
                                                a.of(DType.F32, i -> 1 + i % 3, cols),
                                                3)));
            }
        }
        for (DType type : new DType[] {DType.F32, DType.F16, DType.BF16}) {
            cases.add(
                    new Case(
                            CompressionOp.ScaleColumns.class,
                            "scaleColumns " + type,
                            0,
                            a ->
                                    new CompressionOp.ScaleColumns(
                                            a.out(7, 33), a.normal(type, 1, 7, 33), a.normal(33))));
            cases.add(
                    new Case(
                            CompressionOp.Clamp.class,
                            "clamp " + type,
                            0,
                            a ->
                                    new CompressionOp.Clamp(
                                            a.out(7, 33),
                                            a.normal(type, 1, 7, 33),
                                            a.of(DType.F32, i -> i % 4 * 0.5, 7, 3))));
            for (int rows : new int[] {1, 37, 201}) {
                cases.add(
                        new Case(
                                StatisticOp.AccumulateColumnMaxima.class,
                                "accumulateColumnMaxima %s, %d rows".formatted(type, rows),
                                0,
                                a ->
                                        new StatisticOp.AccumulateColumnMaxima(
                                                a.written(DType.F32, i -> i % 5, 300),
                                                a.normal(type, 1, rows, 300))));
            }
        }
        for (int cols : new int[] {1, 33, 300, 1021}) {
            for (int power : new int[] {1, 2}) {
                cases.add(
                        new Case(
                                StatisticOp.AccumulateColumnNorms.class,
                                "accumulateColumnNorms %d, power %d".formatted(cols, power),
                                ROUNDING,
                                a ->
                                        new StatisticOp.AccumulateColumnNorms(
                                                a.written(DType.F64, i -> i, cols),
                                                a.normal(37, cols),
                                                power)));
            }
            cases.add(
                    new Case(
                            StatisticOp.RowSquares.class,
                            "rowSquares " + cols,
                            ROUNDING,
                            a ->
                                    new StatisticOp.RowSquares(
                                            a.out(DType.F64, 37),
                                            a.normal(DType.BF16, 1, 37, cols))));
            cases.add(
                    new Case(
                            StatisticOp.Transpose.class,
                            "transpose " + cols,
                            0,
                            a -> new StatisticOp.Transpose(a.out(cols, 37), a.normal(37, cols))));
        }
        cases.add(
                new Case(
                        StatisticOp.GatherSymmetric.class,
                        "gatherSymmetric of a part",
                        0,
                        a ->
                                new StatisticOp.GatherSymmetric(
                                        a.out(9, 9), a.normal(33, 33), a.indices(33, 9))));
        for (DType type : new DType[] {DType.F32, DType.BF16}) {
            cases.add(
                    new Case(
                            StatisticOp.GatherColumns.class,
                            "gatherColumns of a part, " + type,
                            0,
                            a ->
                                    new StatisticOp.GatherColumns(
                                            a.out(type, 7, 9),
                                            a.normal(type, 1, 7, 33),
                                            a.indices(33, 9))));
        }
        cases.add(
                new Case(
                        ForwardOp.GatherRows.class,
                        "gatherRows of BF16",
                        0,
                        a ->
                                new ForwardOp.GatherRows(
                                        a.out(DType.BF16, 9, 33),
                                        a.normal(DType.BF16, 1, 12, 33),
                                        a.indices(12, 9))));
    }

    private static Case maskedBlock(Encoding.Grid<Codes.Ints> spec, int cols, int from, int to) {
        return new Case(
                CompressionOp.AccumulateObsBlock.class,
                "obsBlock with a mask, rounding %s, %d columns".formatted(spec != null, cols),
                1e-10,
                a ->
                        obsBlock(
                                a,
                                spec == null ? null : grid(a, spec, DType.F16, cols),
                                new CompressionOp.AccumulateObsBlock.Pruning(
                                        a.of(DType.U8, _ -> a.random().nextInt(2), 19, cols), null),
                                cols,
                                from,
                                to));
    }

    private static Case prunedBlock(
            Encoding.Grid<Codes.Ints> spec,
            CompressionOp.MaskRule.NOfM rule,
            int cols,
            int from,
            int to) {
        return new Case(
                CompressionOp.AccumulateObsBlock.class,
                "obsBlock, %d of %d, rounding %s, %d columns"
                        .formatted(rule.n(), rule.m(), spec != null, cols),
                1e-10,
                a ->
                        obsBlock(
                                a,
                                spec == null ? null : grid(a, spec, DType.F32, cols),
                                new CompressionOp.AccumulateObsBlock.Pruning(
                                        a.written(DType.U8, _ -> 9, 19, cols), rule),
                                cols,
                                from,
                                to));
    }

    private static Case chooseMask(
            CompressionOp.MaskRule rule, DType type, int rows, int cols, int from, int to) {
        return new Case(
                CompressionOp.ChooseMask.class,
                "chooseMask %s of %s, %d columns".formatted(rule, type, cols),
                0,
                a ->
                        new CompressionOp.ChooseMask(
                                a.written(DType.U8, i -> i % 3, rows, cols),
                                // Few values, so that there are ties.
                                a.of(type, _ -> a.random().nextInt(19) - 9, rows, cols),
                                type == DType.F32 ? a.of(DType.F32, i -> 1 + i % 3, cols) : null,
                                rule,
                                from,
                                to));
    }
}
