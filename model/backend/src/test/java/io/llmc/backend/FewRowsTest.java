// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.cpu.CpuBackend;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.assertj.core.data.Offset;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/// Products of few rows with weights that have every code and scales of every size.
class FewRowsTest {
    private static final double[] SCALES = {
        1,
        -0.01,
        0,
        0x1p-100,
        0x1p-115,
        0x1p-130,
        0x1p7,
        0x1p20,
        0x1p120,
        Double.POSITIVE_INFINITY,
        Double.NaN
    };

    @ParameterizedTest
    @ValueSource(ints = {1, 2})
    void everyCodeOfE4m3AndEveryScale(int rows) {
        var grid = new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.ROW);
        for (double scale : SCALES) {
            for (int replaced : new int[] {0x7f, 0x100}) {
                // With and without NaN.
                check(
                        rows,
                        a ->
                                new Weight.Scaled(
                                        grid,
                                        a.of(
                                                DType.F8_E4M3,
                                                i -> (i & 0x7f) == replaced ? 1 : i & 0xff,
                                                5,
                                                256),
                                        a.of(DType.BF16, _ -> scale, 5, 1)));
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2})
    void everyCodeOfE2m1AndEveryScale(int rows) {
        for (ScaleKind kind : new ScaleKind[] {ScaleKind.POWER, ScaleKind.NESTED}) {
            boolean power = kind == ScaleKind.POWER;
            int width = power ? 32 : 16;
            int groups = 128 / width;
            var grid = new Encoding.Grid<>(Codes.Floats.E2M1, Tiles.groups(width), kind);
            DType type = power ? DType.U8 : DType.F8_E4M3;
            check(
                    rows,
                    a ->
                            new Weight.Scaled(
                                    grid,
                                    // Groups have other orders of the codes.
                                    a.of(DType.U8, i -> i * 0x9d & 0xff, 256, 64),
                                    a.of(type, i -> i / groups, 256, groups),
                                    power ? null : a.of(DType.F32, _ -> 3, 1)));
        }
    }

    /// Every code at every distance from zero points, with every mantissa of a scale.
    @ParameterizedTest
    @CsvSource({"4, BF16, 128", "4, F16, 1024", "4, F32, 100", "8, BF16, 128", "8, F32, 100"})
    void everyDistanceAndMantissa(int bits, DType type, int mantissas) {
        int codes = 1 << bits;
        int in = Math.max(codes, 64);
        var grid = Encoding.ints(bits, in, false);
        int per = 32 / bits;
        int points = 16;
        int out = mantissas * points;
        for (int rows = 1; rows <= 2; rows++) {
            checkIntegers(
                    rows,
                    a ->
                            new Weight.Grouped(
                                    grid,
                                    in,
                                    a.of(
                                            DType.I32,
                                            i -> word(i * per, bits),
                                            out,
                                            grid.codes().words(in)),
                                    a.of(
                                            type,
                                            i ->
                                                    (i % 3 == 0 ? -1 : 1)
                                                            * (1
                                                                    + (double) (i / points)
                                                                            / mantissas),
                                            out,
                                            1),
                                    a.of(DType.U8, i -> i % points * (codes - 1) / 15, out, 1),
                                    null));
        }
    }

    /// Scales of every size, with which values of integers are subnormal, huge, or no numbers.
    @ParameterizedTest
    @CsvSource({"4, BF16", "4, F16", "4, F32", "8, BF16", "8, F16", "8, F32"})
    void integersOfEveryScale(int bits, DType type) {
        var grid = Encoding.ints(bits, 128, true);
        for (int rows = 1; rows <= 2; rows++) {
            for (double scale : SCALES) {
                checkIntegers(
                        rows,
                        a ->
                                new Weight.Grouped(
                                        grid,
                                        256,
                                        a.of(
                                                DType.I32,
                                                i -> word(i * 32 / bits, bits),
                                                5,
                                                grid.codes().words(256)),
                                        a.of(type, i -> i == 3 ? scale : 0.01 * (i + 1), 5, 2),
                                        a.of(DType.U8, _ -> grid.codes().middleCode(), 5, 2),
                                        null));
            }
        }
    }

    /// The last group of 128 is a shorter one; parts of a tile that are read together overlap.
    @ParameterizedTest
    @CsvSource({"4, 128", "8, 128", "4, 32", "8, 32"})
    void groupsOfEverySize(int bits, int group) {
        for (boolean symmetric : new boolean[] {false, true}) {
            var grid = Encoding.ints(bits, group, symmetric);
            for (int out : new int[] {1, 2, 3, 5, 37}) {
                for (int rows = 1; rows <= 2; rows++) {
                    checkIntegers(rows, a -> a.packed(grid, DType.BF16, false, out, 576));
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 3, 4, 5, 6, 7, 8})
    void codesThatStraddleWords(int bits) {
        var grid = Encoding.ints(bits, 32, false);
        compare(
                2,
                a ->
                        new Weight.Grouped(
                                grid,
                                96,
                                a.of(DType.I32, i -> (int) (i * 0x9e3779b9L), 5, 3L * bits),
                                a.of(DType.BF16, i -> 0.01 * (i + 1), 5, 3),
                                a.of(DType.U8, i -> i & grid.codes().maxCode(), 5, 3),
                                null),
                bits != 4 && bits != 8);
    }

    /// A pass of few rows has an order of sums of its own, but no other products.
    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"F32", "BF16", "F16"})
    void briefPasses(DType type) {
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                TensorArena arena = backend.newArena(1 << 22)) {
            var operands = new Operands(backend, arena, 1);
            Weight w = new Weight.Dense(operands.of(type, i -> 0.01 * (i % 101 - 50), 7, 4099));
            Tensor x = operands.normal(2, 4099);
            Tensor got = operands.out(2, 7);
            Tensor want = operands.out(2, 7);
            backend.run(new ForwardOp.Matmul(want, x, w));
            backend.brief().run(new ForwardOp.Matmul(got, x, w));
            assertThat(operands.download(got).toArray(ValueLayout.JAVA_FLOAT))
                    .containsExactly(
                            operands.download(want).toArray(ValueLayout.JAVA_FLOAT),
                            Offset.offset(1e-3f));
        }
    }

    /// With inputs that are rounded to integers by blocks of 64: the product of what they are
    /// rounded to, by a way of its own. Codes and inputs of every size, the greatest sums of both
    /// signs.
    @ParameterizedTest
    @CsvSource({
        "576, 64, true",
        "576, 128, true",
        "576, 576, true",
        "576, 64, false",
        "576, 192, false",
        "576, 576, false",
        "512, 64, true",
        "512, 128, false",
    })
    void integersOfFourBitsWithIntegers(int in, int group, boolean symmetric) {
        int out = 37;
        int rows = 5;
        var grid = Encoding.ints(4, group == in ? Tiles.ALL : group, symmetric);
        int groups = Math.ceilDiv(in, group);
        int words = in / 8;
        var integers =
                new BackendOptions(
                        2, BackendOptions.Math.AUTO, Long.MAX_VALUE, BackendOptions.Compute.INT8);
        try (Backend backend = new CpuBackend(integers);
                TensorArena arena = backend.newArena(1 << 22)) {
            var a = new Operands(backend, arena, 1);
            Weight w =
                    new Weight.Grouped(
                            grid,
                            in,
                            a.of(
                                    DType.I32,
                                    i ->
                                            switch ((int) i / words) {
                                                case 0 -> 0;
                                                case 1 -> -1;
                                                default -> (int) (i * 0x9e3779b9L);
                                            },
                                    out,
                                    words),
                            a.of(DType.F32, i -> 0.01 * (i % 50 - 25), out, groups),
                            a.of(DType.U8, i -> symmetric ? 8 : i * 7 & 15, out, groups),
                            null);
            // Rows of one magnitude, with an outlier, of next to nothing, and without anything.
            Tensor x =
                    a.of(
                            DType.F32,
                            i ->
                                    switch ((int) i / in) {
                                        case 0 -> 3;
                                        case 1 -> -3;
                                        case 2 -> Math.sin(i) * (i % 100 == 0 ? 1000 : 1);
                                        case 3 -> Math.cos(i) * 0x1p-100;
                                        default -> i % in < 64 ? 0 : Math.sin(3 * i);
                                    },
                            rows,
                            in);
            Tensor dense = a.out(out, in);
            Tensor got = a.out(rows, out);
            backend.run(new CompressionOp.Dequantize(dense, w));
            backend.run(new ForwardOp.Matmul(got, x, w));
            float[] values = a.download(dense).toArray(ValueLayout.JAVA_FLOAT);
            float[] numbers = a.download(x).toArray(ValueLayout.JAVA_FLOAT);
            float[] actual = a.download(got).toArray(ValueLayout.JAVA_FLOAT);
            for (int i = 0; i < rows; i++) {
                float[] row = Arrays.copyOfRange(numbers, i * in, i * in + in);
                double[] rounded = rounded(row);
                for (int j = 0; j < out; j++) {
                    double sum = 0;
                    // Zero points are taken off once codes are multiplied.
                    double magnitude = 0;
                    for (int c = 0; c < in; c++) {
                        sum += rounded[c] * values[j * in + c];
                        magnitude += Math.abs(rounded[c]) * 16 * 0.25;
                    }
                    assertThat((double) actual[i * out + j])
                            .isCloseTo(sum, Offset.offset(0x1p-20 * magnitude));
                }
                Tensor one = a.out(1, out);
                backend.run(new ForwardOp.Matmul(one, x.rows(i, i + 1), w));
                assertThat(a.download(one).toArray(ValueLayout.JAVA_FLOAT))
                        .containsExactly(Arrays.copyOfRange(actual, i * out, i * out + out));
            }
        }
    }

    /// No integer stands for what is not finite: its row has no numbers, the one beside it has its
    /// own.
    @ParameterizedTest
    @CsvSource({"NaN, true", "Infinity, true", "-Infinity, false"})
    void whatIsNotFiniteHasNoInteger(double number, boolean symmetric) {
        var integers =
                new BackendOptions(
                        1, BackendOptions.Math.AUTO, Long.MAX_VALUE, BackendOptions.Compute.INT8);
        try (Backend backend = new CpuBackend(integers);
                TensorArena arena = backend.newArena(1 << 20)) {
            var a = new Operands(backend, arena, 1);
            Weight w = a.packed(Encoding.ints(4, 64, symmetric), DType.BF16, false, 5, 128);
            Tensor x = a.of(DType.F32, i -> i == 70 ? number : Math.sin(i), 2, 128);
            Tensor both = a.out(2, 5);
            Tensor second = a.out(1, 5);
            backend.run(new ForwardOp.Matmul(both, x, w));
            backend.run(new ForwardOp.Matmul(second, x.rows(1, 2), w));
            float[] got = a.download(both).toArray(ValueLayout.JAVA_FLOAT);
            assertThat(Arrays.copyOf(got, 5)).containsOnly(Float.NaN);
            assertThat(Arrays.copyOfRange(got, 5, 10))
                    .containsExactly(a.download(second).toArray(ValueLayout.JAVA_FLOAT))
                    .doesNotContain(Float.NaN);
        }
    }

    /// Rows of more groups than the loops over codes have room for.
    @ParameterizedTest
    @EnumSource(
            value = BackendOptions.Compute.class,
            names = {"F32", "INT8"})
    void rowsOfVeryManyGroups(BackendOptions.Compute compute) {
        int in = 1 << 20;
        var options = new BackendOptions(2, BackendOptions.Math.AUTO, Long.MAX_VALUE, compute);
        try (Backend backend = new CpuBackend(options);
                TensorArena arena = backend.newArena(1 << 25)) {
            var a = new Operands(backend, arena, 1);
            Weight w = a.packed(Encoding.ints(4, 64, true), DType.F32, false, 2, in);
            Tensor x = a.of(DType.F32, i -> Math.sin(i), 1, in);
            Tensor got = a.out(1, 2);
            Tensor dense = a.out(2, in);
            backend.run(new ForwardOp.Matmul(got, x, w));
            backend.run(new CompressionOp.Dequantize(dense, w));
            float[] values = a.download(dense).toArray(ValueLayout.JAVA_FLOAT);
            float[] numbers = a.download(x).toArray(ValueLayout.JAVA_FLOAT);
            float[] actual = a.download(got).toArray(ValueLayout.JAVA_FLOAT);
            for (int j = 0; j < 2; j++) {
                double sum = 0;
                double magnitude = 0;
                for (int i = 0; i < in; i++) {
                    double product = (double) numbers[i] * values[j * in + i];
                    sum += product;
                    magnitude += Math.abs(product);
                }
                assertThat((double) actual[j]).isCloseTo(sum, Offset.offset(1e-6 * magnitude));
            }
        }
    }

    /// What products of one input share changes none of them: other codes, other groups, other zero
    /// points and another input behind one another.
    @ParameterizedTest
    @CsvSource({"F32, 1", "F32, 3", "INT8, 1", "INT8, 3", "BF16, 1", "BF16, 2"})
    void productsOfOneInputAreThoseOfEachAlone(BackendOptions.Compute compute, int rows) {
        var options = new BackendOptions(2, BackendOptions.Math.AUTO, Long.MAX_VALUE, compute);
        try (Backend backend = new CpuBackend(options);
                TensorArena arena = backend.newArena(1 << 22)) {
            var a = new Operands(backend, arena, 1);
            int in = 256;
            Tensor x = a.of(DType.F32, i -> Math.sin(i), rows, in);
            Tensor y = a.of(DType.F32, i -> Math.cos(3 * i), rows, in);
            List<Weight> weights =
                    List.of(
                            a.packed(Encoding.ints(4, 64, true), DType.BF16, false, 37, in),
                            a.packed(Encoding.ints(4, 64, true), DType.BF16, false, 24, in),
                            a.packed(Encoding.ints(4, 128, true), DType.BF16, false, 8, in),
                            a.packed(Encoding.ints(4, 128, false), DType.BF16, false, 8, in),
                            a.packed(Encoding.ints(8, 128, false), DType.BF16, false, 8, in),
                            new Weight.Dense(a.of(DType.BF16, i -> Math.sin(i / 3.0), 5, in)),
                            a.packed(Encoding.ints(4, 64, true), DType.BF16, false, 9, in));
            List<ForwardOp.Matmul> all = new ArrayList<>();
            for (Tensor input : List.of(x, y)) {
                for (Weight w : weights) {
                    all.add(new ForwardOp.Matmul(a.out(rows, w.outFeatures()), input, w));
                }
            }
            backend.runAll(all);
            for (ForwardOp.Matmul together : all) {
                Tensor alone = a.out(rows, together.w().outFeatures());
                backend.run(new ForwardOp.Matmul(alone, together.x(), together.w()));
                assertThat(a.download(together.out()).toArray(ValueLayout.JAVA_FLOAT))
                        .containsExactly(a.download(alone).toArray(ValueLayout.JAVA_FLOAT))
                        .isNotEqualTo(new float[rows * (int) together.w().outFeatures()]);
            }
        }
    }

    private static double[] rounded(float[] x) {
        double[] rounded = new double[x.length];
        for (int b = 0; b < x.length; b += 64) {
            double largest = 0;
            for (int i = b; i < b + 64; i++) {
                largest = Math.max(largest, Math.abs(x[i]));
            }
            for (int i = b; i < b + 64 && largest > 0; i++) {
                rounded[i] = Math.rint(x[i] * 1023 / largest) * largest / 1023;
            }
        }
        return rounded;
    }

    /// Codes one after another, the first one of them `first`.
    private static int word(long first, int bits) {
        int word = 0;
        for (int i = 0; i < 32 / bits; i++) {
            word |= (int) (first + i & (1 << bits) - 1) << i * bits;
        }
        return word;
    }

    @FunctionalInterface
    private interface Make {
        Weight make(Operands a);
    }

    private static void check(int rows, Make make) {
        compare(rows, make, true);
    }

    /// Integers in groups are multiplied as they are: what they stand for is not rounded to the
    /// type of their scales, which is up to half of a last place of each.
    private static void checkIntegers(int rows, Make make) {
        compare(rows, make, false);
    }

    private static void compare(int rows, Make make, boolean exactly) {
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.ONEDNN));
                TensorArena arena = backend.newArena(1 << 25)) {
            var operands = new Operands(backend, arena, 1);
            Weight w = make.make(operands);
            int out = Math.toIntExact(w.outFeatures());
            int in = Math.toIntExact(w.inFeatures());
            Tensor dense = operands.out(out, in);
            Tensor x = operands.normal(rows, in);
            Tensor got = operands.out(rows, out);
            Tensor want = operands.out(rows, out);
            backend.run(new CompressionOp.Dequantize(dense, w));
            float[] values = operands.download(dense).toArray(ValueLayout.JAVA_FLOAT);
            float[] numbers = operands.download(x).toArray(ValueLayout.JAVA_FLOAT);
            // Half of a last place of a value, and what F32 itself loses.
            double place =
                    switch (w.valueType()) {
                        case BF16 -> 0x1p-8;
                        case F16 -> 0x1p-11;
                        default -> 0x1p-18;
                    };
            for (Runner runner : new Runner[] {backend, backend.brief()}) {
                runner.run(new ForwardOp.Matmul(want, x, new Weight.Dense(dense)));
                runner.run(new ForwardOp.Matmul(got, x, w));
                float[] expected = operands.download(want).toArray(ValueLayout.JAVA_FLOAT);
                float[] actual = operands.download(got).toArray(ValueLayout.JAVA_FLOAT);
                if (exactly || !runner.equals(backend)) {
                    assertThat(actual).containsExactly(expected);
                    continue;
                }
                for (int i = 0; i < actual.length; i++) {
                    double magnitude = 0;
                    for (int j = 0; j < in; j++) {
                        magnitude += Math.abs(values[i % out * in + j] * numbers[i / out * in + j]);
                    }
                    if (Double.isFinite(magnitude)) {
                        assertThat(actual[i])
                                .isCloseTo(
                                        expected[i],
                                        Offset.offset((float) (place * magnitude + 0x1p-120)));
                    } else {
                        assertThat(actual[i]).isEqualTo(Float.valueOf(expected[i]));
                    }
                }
            }
        }
    }

    /// A row has its bits whatever stands beside it.
    @ParameterizedTest
    @ValueSource(ints = {4, 8})
    void oneRowAndEight(int bits) {
        var grid = Encoding.ints(bits, 64, false);
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.AUTO));
                TensorArena arena = backend.newArena(1 << 22)) {
            var a = new Operands(backend, arena, 1);
            Weight w =
                    new Weight.Grouped(
                            grid,
                            576,
                            a.of(DType.I32, i -> (int) (i * 0x9e3779b9L), 37, 18L * bits),
                            a.of(DType.BF16, i -> 0.01 * (i % 50 - 25), 37, 9),
                            a.of(DType.U8, i -> i & grid.codes().maxCode(), 37, 9),
                            null);
            Tensor x = a.normal(8, 576);
            Tensor all = a.out(8, 37);
            backend.run(new ForwardOp.Matmul(all, x, w));
            float[] expected = a.download(all).toArray(ValueLayout.JAVA_FLOAT);
            for (int rows = 1; rows < 8; rows++) {
                Tensor some = a.out(rows, 37);
                backend.run(new ForwardOp.Matmul(some, x.rows(0, rows), w));
                assertThat(a.download(some).toArray(ValueLayout.JAVA_FLOAT))
                        .containsExactly(Arrays.copyOf(expected, rows * 37));
            }
        }
    }
}
