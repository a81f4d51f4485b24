// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.backend.AttentionSpec.Heads;
import io.llmc.backend.AttentionSpec.Reach;
import io.llmc.backend.ForwardOp.Activation;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.model.Tape;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// Every rule of the [Tape] against differences of the forward operation: the loss is a random
/// linear function of the output.
///
/// Sources are multiples of 2^-10 and steps powers of 2, so that what is differenced is what was
/// asked for; five points leave an error of the fourth power of the step, and the rest is the F32
/// rounding of [ReferenceOps]'s outputs.
class FiniteDifferenceTest {
    private static final double STEP = 0x1p-5;
    private static final double BOUND = 1e-4;
    private static final long SEED = 11;

    /// @param out the output, F32
    /// @param sources differentiated by, F32
    private record Built(Op op, Tensor out, List<Tensor> sources) {
        Built(Op op, Tensor... sources) {
            this(op, op.operands().findFirst().orElseThrow(), List.of(sources));
        }
    }

    private record Case(Class<? extends Op> op, String name, Function<Operands, Built> build) {
        @Override
        public String toString() {
            return name;
        }
    }

    private static Tensor source(Operands a, long... dims) {
        return a.of(DType.F32, _ -> grid(a.random().nextGaussian()), dims);
    }

    private static double grid(double x) {
        return Math.rint(x * 1024) / 1024;
    }

    static Stream<Case> cases() {
        List<Case> cases = new ArrayList<>();
        cases.add(
                new Case(
                        ForwardOp.Embed.class,
                        "embed",
                        a -> {
                            Tensor table = source(a, 5, 9);
                            return new Built(
                                    new ForwardOp.Embed(a.out(7, 9), a.indices(5, 7), table, 1.5f),
                                    table);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Matmul.class,
                        "matmul",
                        a -> {
                            Tensor x = source(a, 7, 19);
                            Tensor w = source(a, 5, 19);
                            return new Built(
                                    new ForwardOp.Matmul(a.out(7, 5), x, new Weight.Dense(w)),
                                    x,
                                    w);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Matmul.class,
                        "matmul of BF16, which is frozen",
                        a -> {
                            Tensor x = source(a, 3, 19);
                            Weight w = a.dense(DType.BF16, 5, 19);
                            return new Built(new ForwardOp.Matmul(a.out(3, 5), x, w), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.AddRow.class,
                        "addRow",
                        a -> {
                            Tensor x = source(a, 7, 19);
                            Tensor row = source(a, 19);
                            return new Built(new ForwardOp.AddRow(a.out(7, 19), x, row), x, row);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Multiply.class,
                        "multiply",
                        a -> {
                            Tensor x = source(a, 7, 19);
                            Tensor y = source(a, 7, 19);
                            return new Built(new ForwardOp.Multiply(a.out(7, 19), x, y), x, y);
                        }));
        cases.add(
                new Case(
                        ForwardOp.MultiplyRow.class,
                        "multiplyRow",
                        a -> {
                            Tensor x = source(a, 7, 19);
                            Tensor row = source(a, 19);
                            return new Built(
                                    new ForwardOp.MultiplyRow(a.out(7, 19), x, row, 1), x, row);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Add.class,
                        "add",
                        a -> {
                            Tensor x = source(a, 3, 19);
                            Tensor y = source(a, 3, 19);
                            return new Built(new ForwardOp.Add(a.out(3, 19), x, y, -0.7f), x, y);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Add.class,
                        "add to itself",
                        a -> {
                            Tensor x = source(a, 3, 19);
                            return new Built(new ForwardOp.Add(a.out(3, 19), x, x, 0.3f), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Scale.class,
                        "scale",
                        a -> {
                            Tensor x = source(a, 3, 19);
                            return new Built(new ForwardOp.Scale(a.out(3, 19), x, -1.7f), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Softcap.class,
                        "softcap",
                        a -> {
                            Tensor x = source(a, 3, 19);
                            return new Built(new ForwardOp.Softcap(a.out(3, 19), x, 2), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.RmsNorm.class,
                        "rmsNorm",
                        a -> {
                            Tensor x = source(a, 5, 19);
                            Tensor w = source(a, 19);
                            return new Built(
                                    new ForwardOp.RmsNorm(a.out(5, 19), x, w, 0.1f, 1), x, w);
                        }));
        cases.add(
                new Case(
                        ForwardOp.LayerNorm.class,
                        "layerNorm",
                        a -> {
                            Tensor x = source(a, 5, 19);
                            Tensor w = source(a, 19);
                            Tensor b = source(a, 19);
                            return new Built(
                                    new ForwardOp.LayerNorm(a.out(5, 19), x, w, b, 0.1f), x, w, b);
                        }));
        for (boolean interleaved : new boolean[] {false, true}) {
            cases.add(
                    new Case(
                            ForwardOp.Rope.class,
                            "rope, interleaved " + interleaved,
                            a -> {
                                Tensor x = source(a, 6, 20);
                                Tensor angles = a.normal(4, 6);
                                return new Built(
                                        new ForwardOp.Rope(
                                                a.out(6, 20), x, angles, 10, 3, interleaved),
                                        x);
                            }));
        }
        for (AttentionSpec spec :
                List.of(
                        new AttentionSpec(new Heads(4, 2, 3, 3), new Reach(5, 5, 0, 0), 0.6f, 0),
                        new AttentionSpec(new Heads(3, 1, 5, 5), new Reach(7, 7, 3, 0), 0.4f, 2),
                        new AttentionSpec(new Heads(4, 2, 3, 5), new Reach(4, 7, 0, 3), 0.5f, 0))) {
            cases.add(
                    new Case(
                            ForwardOp.Attention.class,
                            spec.toString(),
                            a -> attention(a, spec, false)));
            cases.add(
                    new Case(
                            ForwardOp.Attention.class,
                            "with sinks and slopes, " + spec,
                            a -> attention(a, spec, true)));
        }
        for (Activation activation : Activation.values()) {
            cases.add(
                    new Case(
                            ForwardOp.Activate.class,
                            "activate " + activation,
                            a -> {
                                Tensor x = awayFromZero(a, 3, 19);
                                return new Built(
                                        new ForwardOp.Activate(a.out(3, 19), x, activation), x);
                            }));
            cases.add(
                    new Case(
                            ForwardOp.Gated.class,
                            "gated " + activation,
                            a -> {
                                Tensor gate = awayFromZero(a, 3, 19);
                                Tensor up = source(a, 3, 19);
                                return new Built(
                                        new ForwardOp.Gated(a.out(3, 19), gate, up, activation),
                                        gate,
                                        up);
                            }));
        }
        cases.add(
                new Case(
                        ForwardOp.ClampedSwiGlu.class,
                        "clampedSwiGlu",
                        a -> {
                            Tensor gate = awayFrom(1.5, a, 3, 19);
                            Tensor up = awayFrom(1.5, a, 3, 19);
                            var clamp = new ForwardOp.Clamp(1.5f, 1.702f, 1);
                            return new Built(
                                    new ForwardOp.ClampedSwiGlu(a.out(3, 19), gate, up, clamp),
                                    gate,
                                    up);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Xielu.class,
                        "xielu",
                        a -> {
                            Tensor x = awayFrom(0.125, a, 3, 19);
                            return new Built(
                                    new ForwardOp.Xielu(
                                            a.out(3, 19), x, ActivationCases.curve(a, DType.F32)),
                                    x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Sinkhorn.class,
                        "sinkhorn",
                        a -> {
                            Tensor x = source(a, 5, 16);
                            var balance = new ForwardOp.Balance(4, 3, 1e-3f);
                            return new Built(new ForwardOp.Sinkhorn(a.out(5, 16), x, balance), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Convolve.class,
                        "convolve",
                        a -> {
                            Tensor x = source(a, 10, 7);
                            Tensor w = source(a, 7, 3);
                            Tensor bias = source(a, 7);
                            return new Built(
                                    new ForwardOp.Convolve(a.out(10, 7), x, w, bias, 5),
                                    x,
                                    w,
                                    bias);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Columns.class,
                        "columns",
                        a -> {
                            Tensor x = source(a, 3, 19);
                            return new Built(new ForwardOp.Columns(a.out(3, 7), x, 11), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.Clip.class,
                        "clip",
                        a -> {
                            // No value is near the kinks.
                            Tensor x = a.of(DType.F32, i -> (i % 7 - 3) * 0.25, 7, 19);
                            return new Built(new ForwardOp.Clip(a.out(7, 19), x, 0.625f), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.PutColumns.class,
                        "putColumns",
                        a -> {
                            Tensor x = source(a, 3, 7);
                            return new Built(new ForwardOp.PutColumns(a.normal(3, 19), x, 11), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.GatherRows.class,
                        "gatherRows",
                        a -> {
                            Tensor x = source(a, 5, 9);
                            return new Built(
                                    new ForwardOp.GatherRows(a.out(7, 9), x, a.indices(5, 7)), x);
                        }));
        cases.add(
                new Case(
                        ForwardOp.AccumulateRows.class,
                        "accumulateRows",
                        a -> {
                            Tensor sum = a.written(DType.F32, i -> i % 7, 5, 9);
                            Tensor x = source(a, 11, 9);
                            Tensor w = source(a, 11);
                            return new Built(
                                    new ForwardOp.AccumulateRows(sum, x, a.indices(5, 11), w, 0.5f),
                                    x,
                                    w);
                        }));
        cases.add(
                new Case(
                        ForwardOp.WeighExperts.class,
                        "weighExperts",
                        a -> {
                            Tensor logits = source(a, 5, 7);
                            RouterSpec spec = RouterSpec.of(Scores.SQRT_SOFTPLUS, true).times(1.5f);
                            var router = new RouteCases.Router(spec, 7, 3, false);
                            return new Built(RouteCases.weigh(a, router, logits, 5), logits);
                        }));
        var sizes = new CompressedCases.Sizes(2, 3, 8);
        cases.add(
                new Case(
                        CompressedOp.Compress.class,
                        "compress",
                        a -> {
                            var op =
                                    CompressedCases.compress(
                                            a, FiniteDifferenceTest::source, sizes);
                            return new Built(op, whole(op.tokens()), op.places());
                        }));
        cases.add(
                new Case(
                        CompressedOp.CompressedAttention.class,
                        "compressedAttention",
                        a -> {
                            var op =
                                    CompressedCases.attention(
                                            a, FiniteDifferenceTest::source, sizes);
                            return new Built(
                                    op, op.q(), whole(op.keys()), whole(op.entries()), op.sinks());
                        }));
        for (RouteCases.Router router : RouteCases.ALL) {
            cases.add(new Case(ForwardOp.Route.class, router.toString(), a -> route(a, router)));
        }
        cases.add(
                new Case(
                        ForwardOp.Zero.class,
                        "zero",
                        a -> {
                            Tensor x = a.written(DType.F32, i -> i % 7, 3, 19);
                            return new Built(new ForwardOp.Zero(x), x);
                        }));
        return cases.stream();
    }

    /// Where a nonlinearity may have a kink.
    private static Tensor awayFromZero(Operands a, long... dims) {
        return a.of(
                DType.F32,
                _ -> {
                    double x = a.random().nextGaussian();
                    return grid(x + Math.copySign(0.125, x));
                },
                dims);
    }

    private static Tensor whole(SparseOp.Keys keys) {
        return ((SparseOp.Keys.Whole) keys).x();
    }

    /// Not within 1/8 of a bound, on neither side of 0, nor of 0.
    private static Tensor awayFrom(double bound, Operands a, long... dims) {
        return a.of(
                DType.F32,
                _ -> {
                    double x = a.random().nextGaussian();
                    double size = Math.abs(x) + 0.125;
                    return grid(Math.copySign(size > bound - 0.125 ? size + 0.25 : size, x));
                },
                dims);
    }

    private static Built attention(Operands a, AttentionSpec spec, boolean more) {
        Heads heads = spec.heads();
        int queries = 2 * spec.reach().length();
        int keys = 2 * spec.reach().keys();
        Tensor q = source(a, queries, heads.queryWidth());
        Tensor k = source(a, keys, heads.keyWidth());
        Tensor v = source(a, keys, heads.valueWidth());
        Tensor sinks = more ? source(a, heads.count()) : null;
        Tensor slopes = more ? a.of(DType.F32, i -> 0.3 + i, heads.count()) : null;
        Tensor out = a.out(queries, heads.outWidth());
        return new Built(
                new ForwardOp.Attention(out, q, k, v, sinks, slopes, spec),
                Stream.of(q, k, v, sinks).filter(Objects::nonNull).toArray(Tensor[]::new));
    }

    /// Logits so far apart that no step changes who is chosen.
    private static Built route(Operands a, RouteCases.Router router) {
        int n = router.experts();
        // 7 and 4 have no divisor in common with any number of experts here.
        Tensor logits = a.of(DType.F32, i -> (i / n * 4 + i % n * 11) % n * 0.25 - 1.125, 5, n);
        Tensor weights = a.out(5, router.chosen());
        Tensor bias = router.bias() ? a.of(DType.F32, i -> i % 3 * 2, n) : null;
        Op op =
                new ForwardOp.Route(
                        a.out(DType.I32, 5, router.chosen()), weights, logits, bias, router.spec());
        return new Built(op, weights, List.of(logits));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void aRuleIsTheSlope(Case c) {
        Built plain = c.build().apply(new Operands(null, null, SEED));
        double[] functional = new Random(3).doubles(plain.out().shape().size(), -1, 1).toArray();
        for (int i = 0; i < functional.length; i++) {
            functional[i] = (float) functional[i];
        }
        try (Backend backend = new CpuBackend(new BackendOptions(2, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 22)) {
            Operands operands = new Operands(backend, arena, SEED);
            Built built = c.build().apply(operands);
            Tape tape = new Tape(backend, arena, built.sources());
            tape.run(built.op());
            Tensor d = tape.gradient(built.out());
            MemorySegment seeds = operands.download(d);
            for (int i = 0; i < functional.length; i++) {
                seeds.setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) functional[i]);
            }
            backend.upload(d, seeds);
            tape.backward();
            for (int s = 0; s < built.sources().size(); s++) {
                MemorySegment got = operands.download(tape.gradient(built.sources().get(s)));
                assertSlopes(plain, functional, s, got);
            }
        }
    }

    private static void assertSlopes(Built plain, double[] functional, int s, MemorySegment got) {
        byte[] before = plain.out().bytes().toArray(ValueLayout.JAVA_BYTE);
        Tensor source = plain.sources().get(s);
        double most = 1;
        double worst = 0;
        for (long i = 0; i < source.shape().size(); i++) {
            double[] losses = new double[5];
            double x = ReferenceOps.get(source, i);
            for (int k = -2; k <= 2; k++) {
                plain.out().bytes().copyFrom(MemorySegment.ofArray(before));
                ReferenceOps.set(source, i, x + k * STEP);
                new ReferenceOps().run(plain.op());
                for (int o = 0; o < functional.length; o++) {
                    losses[k + 2] += functional[o] * ReferenceOps.get(plain.out(), o);
                }
            }
            plain.out().bytes().copyFrom(MemorySegment.ofArray(before));
            ReferenceOps.set(source, i, x);
            double want = (8 * (losses[3] - losses[1]) - (losses[4] - losses[0])) / (12 * STEP);
            most = Math.max(most, Math.abs(want));
            worst = Math.max(worst, Math.abs(want - got.getAtIndex(ValueLayout.JAVA_FLOAT, i)));
        }
        assertThat(worst / most).as("source %d", s).isLessThan(BOUND);
    }

    /// Asks the tape itself which operations have a rule.
    @Test
    void everyRuleHasACase() {
        Set<Class<?>> here = cases().map(Case::op).collect(Collectors.toSet());
        Set<Class<?>> ruled =
                Op.all().filter(FiniteDifferenceTest::hasARule).collect(Collectors.toSet());
        ruled.removeIf(op -> Tape.chooses(op.asSubclass(Op.class)));
        assertThat(ruled).allMatch(op -> Tape.hasRule(op.asSubclass(Op.class)));
        // Staircases; their rules are no slopes.
        ruled.removeAll(Set.of(ForwardOp.RoundActivations.class, ForwardOp.IntegerMatmul.class));
        assertThat(ruled).isEqualTo(here);
    }

    @Test
    void roundingPassesGradientsStraightThrough() {
        var scheme = new ActivationScheme(Codes.Floats.E4M3, Tiles.ROW, true);
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 16)) {
            var operands = new Operands(backend, arena, SEED);
            Tensor x = operands.normal(3, 17);
            Tensor out = operands.out(3, 17);
            Tape tape = new Tape(backend, arena, List.of(x));
            tape.run(new ForwardOp.RoundActivations(out, x, InputRounding.dynamic(scheme)));
            MemorySegment seeds = operands.download(operands.normal(3, 17));
            backend.upload(tape.gradient(out), seeds);
            tape.backward();
            assertThat(operands.download(tape.gradient(x)).mismatch(seeds)).isEqualTo(-1);
            assertThat(operands.download(out).mismatch(operands.download(x))).isNotEqualTo(-1);
        }
    }

    private static boolean hasARule(Class<?> op) {
        OpCases.Case any = OpCases.ALL.stream().filter(c -> c.op() == op).findFirst().orElseThrow();
        Op built = any.build().apply(new Operands(null, null, SEED));
        try (Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.PORTABLE));
                TensorArena arena = backend.newArena(1 << 22)) {
            Tape tape = new Tape(_ -> {}, arena, built.operands().toList());
            tape.run(built);
            tape.backward();
            return true;
        } catch (IllegalArgumentException _) {
            return true; // a rule that asked for the gradient of what is no F32
        } catch (IllegalStateException e) {
            assertThat(e).hasMessageStartingWith("not differentiable");
            return false;
        }
    }
}
