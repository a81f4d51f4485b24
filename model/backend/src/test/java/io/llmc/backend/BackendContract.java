// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.AttentionSpec.Heads;
import io.llmc.backend.AttentionSpec.Reach;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/// What every backend must do, checked against [ReferenceOps]. One subclass per backend.
public abstract class BackendContract {
    private static final long SEED = Agreement.SEED;
    private static final long SLAB = Agreement.SLAB;

    /// The backend with a number of host threads.
    @MustBeClosed
    protected abstract Backend open(int threads);

    /// Rows of the products whose rows are compared with those of fewer.
    protected int productRows() {
        return 530;
    }

    /// Rows up to which products have kernels of their own, and so other bits than those of more.
    protected int fewRows() {
        return 0;
    }

    /// What a product of few rows may differ by, as a normalised mean squared error, where codes
    /// are multiplied as such and what they stand for is not rounded to the type of the scales: the
    /// square of half of a last place of each, and of F32 what another order of sums is worth.
    private double leftUnrounded(long rows, Weight w) {
        if (rows > fewRows() || !(w instanceof Weight.Grouped)) {
            return 0;
        }
        return switch (w.valueType()) {
            case BF16 -> 0x1p-16;
            case F16 -> 0x1p-22;
            case F32 -> 0x1p-40;
            default -> throw new IllegalArgumentException("not a float type: " + w.valueType());
        };
    }

    /// Counts of threads whose bytes are compared with those of two.
    protected int[] otherThreads() {
        return new int[] {1, 3};
    }

    /// The names of the operations that this backend computes in a way of its own.
    protected String ops() {
        return ".*";
    }

    /// Whether the backend has a kernel for an operation.
    protected boolean runs(Class<? extends Op> op) {
        return true;
    }

    @Test
    void refusesWhatItHasNoKernelFor() {
        try (Backend backend = open(1);
                TensorArena arena = backend.newArena(SLAB)) {
            assertThat(Op.all()).allMatch(op -> backend.runs(op) == runs(op), "is told of");
            for (OpCases.Case c : OpCases.ALL) {
                if (!runs(c.op())) {
                    Op op;
                    try {
                        op = c.build().apply(new Operands(backend, arena, SEED));
                    } catch (UnsupportedOperationException _) {
                        continue; // it takes the result of one that is refused itself
                    }
                    assertThatThrownBy(() -> backend.run(op))
                            .isInstanceOf(UnsupportedOperationException.class)
                            .hasMessageContaining(c.op().getSimpleName());
                }
            }
        }
    }

    /// Within the bounds of every case, and in the same bytes whatever the number of threads.
    @TestFactory
    Stream<DynamicTest> agreesWithTheReference() {
        return cases().map(c -> DynamicTest.dynamicTest(c.name(), () -> agrees(c)));
    }

    /// Those whose operation matches `-Dllmc.ops=REGEX`, while one of them is being written; of
    /// each operation every `-Dllmc.every=N`-th, where a tool makes all of them slow.
    private Stream<OpCases.Case> cases() {
        String wanted = System.getProperty("llmc.ops", ".*");
        int every = Integer.getInteger("llmc.every", 1);
        Map<Class<?>, Integer> seen = new HashMap<>();
        return OpCases.ALL.stream()
                .filter(c -> runs(c.op()))
                .filter(c -> c.op().getSimpleName().matches(ops()))
                .filter(c -> c.op().getSimpleName().matches(wanted))
                .filter(c -> seen.merge(c.op(), 1, Integer::sum) % every == 1 % every);
    }

    private void agrees(OpCases.Case c) {
        List<MemorySegment> bytes;
        try (Backend backend = open(2)) {
            bytes = Agreement.check(bounded(c), backend);
        }
        for (int threads : otherThreads()) {
            try (Backend backend = open(threads)) {
                List<MemorySegment> others = Agreement.bytes(c, backend);
                for (int i = 0; i < bytes.size(); i++) {
                    Agreement.assertSame(threads + " threads", others.get(i), bytes.get(i));
                }
            }
        }
    }

    private OpCases.Case bounded(OpCases.Case c) {
        if (fewRows() == 0
                || !(c.build().apply(new Operands(null, null, SEED))
                        instanceof ForwardOp.Matmul op)) {
            return c;
        }
        double bound = Math.max(c.bound(), leftUnrounded(op.x().rows(), op.w()));
        return new OpCases.Case(c.op(), c.name(), bound, c.build());
    }

    @Test
    void everyOpHasACase() {
        Set<Class<?>> cases =
                OpCases.ALL.stream().map(OpCases.Case::op).collect(Collectors.toSet());
        assertThat(Op.all()).allMatch(cases::contains, "has a case");
    }

    /// However many rows a product has, a row's result is the same bits; those of few are compared
    /// with those of the most that count as few.
    @TestFactory
    Stream<DynamicTest> aRowOfAProductDoesNotDependOnTheOthers() {
        return OpCases.WEIGHTS.stream()
                .map(w -> DynamicTest.dynamicTest(w.name(), () -> rowsAreAlone(w)));
    }

    private void rowsAreAlone(OpCases.WeightCase weights) {
        int in = weights.odd() == 258 ? 1022 : 1021;
        int outs = 203;
        int all = productRows();
        try (Backend backend = open(2);
                TensorArena arena = backend.newArena(SLAB)) {
            var operands = new Operands(backend, arena, SEED);
            Weight w = weights.build().make(operands, outs, in);
            Tensor x = operands.normal(all, in);
            Tensor together = operands.out(all, outs);
            backend.run(new ForwardOp.Matmul(together, x, w));
            MemorySegment want = operands.download(together).asSlice(4L * 11 * outs);
            Tensor most = operands.out(Math.max(1, fewRows()), outs);
            backend.run(new ForwardOp.Matmul(most, x.rows(11, 11 + most.rows()), w));
            MemorySegment wantOfFew = operands.download(most);
            for (int rows : new int[] {1, 2, 3, 5, 7, 8, 9, 64, 129, 512}) {
                if (11 + rows > all) {
                    continue;
                }
                Tensor few = operands.out(rows, outs);
                backend.run(new ForwardOp.Matmul(few, x.rows(11, 11 + rows), w));
                Agreement.assertSame(
                        rows + " rows",
                        operands.download(few),
                        (rows <= fewRows() ? wantOfFew : want).asSlice(0, 4L * rows * outs));
            }
            operands.assertGuardsAreWhole();
        }
    }

    /// A decoder's last queries get the bits that they get in the whole sequence.
    @TestFactory
    Stream<DynamicTest> aQueryOfAttentionDoesNotDependOnTheOthers() {
        return Stream.of(new Reach(100, 100, 0, 0), new Reach(100, 100, 23, 70))
                .flatMap(reach ->
                        Stream.of(new Heads(4, 2, 24, 40), new Heads(2, 1, 140, 20))
                                .map(heads -> new AttentionSpec(heads, reach, 0.2f, 0)))
                .map(s -> DynamicTest.dynamicTest(s.toString(), () -> queriesAreAlone(s)));
    }

    private void queriesAreAlone(AttentionSpec spec) {
        Heads heads = spec.heads();
        Reach all = spec.reach();
        try (Backend backend = open(1);
                TensorArena arena = backend.newArena(SLAB)) {
            var a = new Operands(backend, arena, SEED);
            Tensor q = a.normal(all.length(), heads.queryWidth());
            Tensor k = a.normal(all.keys(), heads.keyWidth());
            Tensor v = a.normal(all.keys(), heads.valueWidth());
            Tensor sinks = a.normal(heads.count());
            Tensor slopes = a.of(DType.F32, i -> 0.1 * i, heads.count());
            Tensor together = a.out(all.length(), heads.outWidth());
            backend.run(new ForwardOp.Attention(together, q, k, v, sinks, slopes, spec));
            MemorySegment want = a.download(together);
            for (int queries : new int[] {1, 7, 70}) {
                int first = all.keys() - queries;
                Tensor few = a.out(queries, heads.outWidth());
                backend.run(
                        new ForwardOp.Attention(
                                few,
                                q.rows(first, all.length()),
                                k,
                                v,
                                sinks,
                                slopes,
                                new AttentionSpec(
                                        heads,
                                        new Reach(queries, all.keys(), all.window(), all.chunk()),
                                        spec.scale(),
                                        spec.softcap())));
                Agreement.assertSame(
                        queries + " queries",
                        a.download(few),
                        want.asSlice(4L * first * heads.outWidth()));
            }
        }
    }

    /// A packed weight is a way to store its dense values, no more.
    @TestFactory
    Stream<DynamicTest> aPackedProductIsTheProductOfTheDequantizedWeight() {
        return OpCases.WEIGHTS.stream()
                .map(weights ->
                        DynamicTest.dynamicTest(
                                weights.name(),
                                () -> {
                                    for (int rows : new int[] {1, 4, 70}) {
                                        assertPackedIsDense(weights, rows);
                                    }
                                }));
    }

    private void assertPackedIsDense(OpCases.WeightCase weights, int rows) {
        try (Backend backend = open(2);
                TensorArena arena = backend.newArena(SLAB)) {
            var operands = new Operands(backend, arena, SEED);
            Weight w = weights.build().make(operands, 77, 512);
            Tensor dense = operands.out(77, 512);
            Tensor x = operands.normal(rows, 512);
            Tensor packed = operands.out(rows, 77);
            Tensor want = operands.out(rows, 77);
            backend.run(new CompressionOp.Dequantize(dense, w));
            backend.run(new ForwardOp.Matmul(want, x, new Weight.Dense(dense)));
            backend.run(new ForwardOp.Matmul(packed, x, w));
            double bound = leftUnrounded(rows, w);
            if (bound == 0) {
                Agreement.assertSame(
                        rows + " rows", operands.download(packed), operands.download(want));
            } else {
                Agreement.assertClose(
                        rows + " rows", bound, operands.onHost(want), operands.onHost(packed));
            }
        }
    }

    /// Subnormal numbers, both zeros and both NaN among them.
    @Test
    void everyCodeOfE4m3HasItsValue() {
        try (Backend backend = open(1);
                TensorArena arena = backend.newArena(1 << 16)) {
            var operands = new Operands(backend, arena, SEED);
            Tensor codes = operands.of(DType.F8_E4M3, i -> i, 2, 128);
            Tensor one = operands.of(DType.F32, _ -> 1, 1, 1);
            Tensor out = operands.out(2, 128);
            var grid = new Encoding.Grid<>(Codes.Floats.E4M3, Tiles.TENSOR);
            backend.run(new CompressionOp.Dequantize(out, new Weight.Scaled(grid, codes, one)));
            MemorySegment got = operands.download(out);
            for (int code = 0; code < 256; code++) {
                assertThat(Float.floatToIntBits(got.getAtIndex(ValueLayout.JAVA_FLOAT, code)))
                        .describedAs("code %d", code)
                        .isEqualTo(Float.floatToIntBits(Codes.Floats.E4M3.value(code)));
            }
        }
    }

    /// Rounding of what lies on a code, half way to the next one, and on both sides of that.
    @Test
    void activationsGoToTheNearestCode() {
        float[] x = new float[4 * 0x7e];
        for (int code = 0; code < 0x7e; code++) {
            float low = Codes.Floats.E4M3.value(code);
            float half = (low + Codes.Floats.E4M3.value(code + 1)) / 2;
            x[4 * code] = low;
            x[4 * code + 1] = half;
            x[4 * code + 2] = -Math.nextDown(half);
            x[4 * code + 3] = -Math.nextUp(half);
        }
        try (Backend backend = open(1);
                TensorArena arena = backend.newArena(1 << 16)) {
            var operands = new Operands(backend, arena, SEED);
            Tensor out = operands.out(1, x.length);
            backend.run(
                    new ForwardOp.RoundActivations(
                            out,
                            operands.of(DType.F32, i -> x[(int) i], 1, x.length),
                            new InputRounding(
                                    new ActivationScheme(Codes.Floats.E4M3, Tiles.TENSOR, false),
                                    operands.of(DType.F32, _ -> 1, 1))));
            MemorySegment got = operands.download(out);
            for (int i = 0; i < x.length; i++) {
                assertThat(got.getAtIndex(ValueLayout.JAVA_FLOAT, i))
                        .describedAs("%s", x[i])
                        .isEqualTo(Codes.Floats.E4M3.nearest(x[i]));
            }
        }
    }

    /// Rows may be added in calls of any multiple of 256.
    @Test
    void aGramMatrixDoesNotDependOnItsBatches() {
        int n = 133;
        try (Backend backend = open(2);
                TensorArena arena = backend.newArena(SLAB)) {
            var operands = new Operands(backend, arena, SEED);
            Tensor x = operands.normal(1024, n);
            Tensor together = operands.written(DType.F32, _ -> 0, n, n);
            Tensor apart = operands.written(DType.F32, _ -> 0, n, n);
            backend.run(new StatisticOp.AccumulateGram(together, x, 0.3f));
            for (long[] range : new long[][] {{0, 256}, {256, 768}, {768, 1024}}) {
                backend.run(
                        new StatisticOp.AccumulateGram(apart, x.rows(range[0], range[1]), 0.3f));
            }
            Agreement.assertSame("in parts", operands.download(apart), operands.download(together));
        }
    }

    @Test
    void aMatrixThatIsNotPositiveHasAStatus() {
        try (Backend backend = open(1);
                TensorArena arena = backend.newArena(SLAB)) {
            for (double bad : new double[] {-5, 0, Double.NaN}) {
                var operands = new Operands(backend, arena, SEED);
                Tensor h =
                        operands.of(
                                DType.F32,
                                i -> i / 100 != i % 100 ? 0 : i == 57 * 101 ? bad : 1,
                                100,
                                100);
                Tensor status = operands.out(DType.I32, 1);
                backend.run(new StatisticOp.CholeskyInverse(operands.out(100, 100), status, h, 0));
                assertThat(operands.download(status).get(ValueLayout.JAVA_INT, 0))
                        .describedAs("a pivot of %s", bad)
                        .isEqualTo(58);
            }
        }
    }

    @Test
    void anArenaIsZeroAndSaysWhenItIsFull() {
        try (Backend backend = open(1);
                TensorArena arena = backend.newArena(1 << 16)) {
            Tensor t = arena.allocate(DType.U8, new Shape(1 << 15));
            MemorySegment host = Arena.ofAuto().allocate(1 << 15);
            backend.download(host, t);
            assertThat(host.toArray(ValueLayout.JAVA_BYTE)).containsOnly(0);
            assertThatThrownBy(() -> arena.allocate(DType.U8, new Shape(1 << 16)))
                    .isInstanceOf(OutOfDeviceMemoryException.class);
        }
    }

    @Test
    void aTensorIsDeadOnceItsScopeIsClosed() {
        try (Backend backend = open(1);
                TensorArena arena = backend.newArena(1 << 16)) {
            Tensor x = arena.allocate(DType.F32, new Shape(1, 4));
            Tensor leaked;
            try (TensorArena scratch = arena.scratch()) {
                leaked = scratch.allocate(DType.F32, new Shape(1, 4));
            }
            assertThatThrownBy(() -> backend.run(new ForwardOp.Add(x, leaked, x, 1)))
                    .hasMessageContaining("used after its arena was closed");
        }
    }

    @Test
    void aTensorOfAnotherDeviceIsRefused() {
        var elsewhere =
                new io.llmc.tensor.Buffer() {
                    @Override
                    public String device() {
                        return "moon:0";
                    }

                    @Override
                    public long byteSize() {
                        return 16;
                    }

                    @Override
                    public boolean isAlive() {
                        return true;
                    }
                };
        try (Backend backend = open(1);
                TensorArena arena = backend.newArena(1 << 16)) {
            Tensor x = arena.allocate(DType.F32, new Shape(1, 4));
            Tensor y = new Tensor(elsewhere, 0, DType.F32, new Shape(1, 4));
            assertThatThrownBy(() -> backend.run(new ForwardOp.Add(x, y, x, 1)))
                    .hasMessageContaining("is not on " + backend.device());
        }
    }
}
