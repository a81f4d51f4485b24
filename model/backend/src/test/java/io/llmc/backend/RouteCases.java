// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.RouterSpec.Groups;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.List;
import java.util.stream.IntStream;

/// Routers of every kind, and their gradients.
final class RouteCases {
    private static final int TOKENS = 33;

    private RouteCases() {}

    /// @param bias of the choice
    record Router(RouterSpec spec, int experts, int chosen, boolean bias) {}

    static final List<Router> ALL =
            List.of(
                    new Router(RouterSpec.softmax(false), 16, 4, false),
                    new Router(RouterSpec.softmax(true), 129, 7, false),
                    new Router(RouterSpec.softmax(true).times(1.5f), 9, 3, true),
                    new Router(
                            RouterSpec.softmax(false).in(new Groups(4, 2, 1)).times(16),
                            20,
                            3,
                            false),
                    new Router(RouterSpec.of(Scores.SIGMOID, false), 5, 1, false),
                    new Router(RouterSpec.of(Scores.SIGMOID, true), 7, 2, false),
                    new Router(
                            new RouterSpec(
                                    Scores.SIGMOID, new Groups(4, 2, 2), true, 1e-2f, 2.5f, 0),
                            64,
                            8,
                            true),
                    new Router(RouterSpec.of(Scores.SQRT_SOFTPLUS, true).times(1.5f), 12, 3, true),
                    new Router(
                            new RouterSpec(Scores.SPARSE_MIXER, null, false, 0, 1, 0.2f),
                            6,
                            2,
                            false));

    static void forward(List<OpCases.Case> cases) {
        for (boolean renormalised : new boolean[] {false, true}) {
            cases.add(
                    new OpCases.Case(
                            ForwardOp.Route.class,
                            "route ties, renormalised " + renormalised,
                            OpCases.ROUNDING,
                            a ->
                                    new ForwardOp.Route(
                                            a.out(DType.I32, TOKENS, 4),
                                            a.out(TOKENS, 4),
                                            a.of(DType.F32, _ -> a.random().nextInt(5), TOKENS, 16),
                                            null,
                                            RouterSpec.softmax(renormalised))));
        }
        for (Router r : ALL) {
            cases.add(
                    new OpCases.Case(
                            ForwardOp.Route.class,
                            r.toString(),
                            OpCases.ROUNDING,
                            a ->
                                    new ForwardOp.Route(
                                            a.out(DType.I32, TOKENS, r.chosen()),
                                            a.out(TOKENS, r.chosen()),
                                            a.normal(TOKENS, r.experts()),
                                            r.bias() ? a.normal(r.experts()) : null,
                                            r.spec())));
        }
        for (Router r : ALL) {
            if (!r.bias() && r.spec().groups() == null) {
                cases.add(
                        new OpCases.Case(
                                ForwardOp.WeighExperts.class,
                                "weigh " + r,
                                OpCases.ROUNDING,
                                a -> weigh(a, r, a.normal(TOKENS, r.experts()), TOKENS)));
            }
        }
    }

    /// Any experts, different ones for each token.
    static ForwardOp.WeighExperts weigh(Operands a, Router r, Tensor logits, int tokens) {
        int k = r.chosen();
        return new ForwardOp.WeighExperts(
                a.out(tokens, k),
                a.of(DType.I32, i -> (i / k * 7 + i % k) % r.experts(), tokens, k),
                logits,
                r.spec());
    }

    static void gradients(List<OpCases.Case> cases) {
        for (Router r : ALL) {
            cases.add(
                    new OpCases.Case(
                            GradientOp.AccumulateRouteGrad.class,
                            "gradient of " + r,
                            OpCases.SUMS,
                            a -> gradient(a, r)));
        }
    }

    /// Of the largest logits, which [ForwardOp.Route] would choose without bias and groups.
    private static Op gradient(Operands a, Router r) {
        double[][] x = new double[TOKENS][r.experts()];
        Tensor logits =
                a.of(
                        DType.F32,
                        i -> {
                            double v = (float) a.random().nextGaussian();
                            x[(int) i / r.experts()][(int) i % r.experts()] = v;
                            return v;
                        },
                        TOKENS,
                        r.experts());
        int k = r.chosen();
        return new GradientOp.AccumulateRouteGrad(
                OpCases.sum(a, TOKENS, r.experts()),
                a.normal(TOKENS, k),
                a.of(DType.I32, i -> largest(x[(int) i / k], k).get((int) i % k), TOKENS, k),
                a.of(
                        DType.F32,
                        i -> {
                            double[] row = x[(int) i / k];
                            return ReferenceRouter.weights(row, largest(row, k), r.spec())[
                                    (int) i % k];
                        },
                        TOKENS,
                        k),
                logits,
                r.spec());
    }

    private static List<Integer> largest(double[] row, int k) {
        return IntStream.range(0, row.length)
                .boxed()
                .sorted(java.util.Comparator.comparingDouble((Integer e) -> -row[e]))
                .limit(k)
                .toList();
    }
}
