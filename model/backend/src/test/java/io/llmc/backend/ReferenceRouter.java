// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.RouterSpec.Scores;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/// Routers by the book; their gradient by central differences of the weights of a given choice.
final class ReferenceRouter {
    private ReferenceRouter() {}

    static void route(ForwardOp.Route op) {
        for (long t = 0; t < op.logits().rows(); t++) {
            double[] x = row(op.logits(), t);
            List<Integer> chosen = choice(op, x);
            double[] w = weights(x, chosen, op.spec());
            for (int j = 0; j < w.length; j++) {
                set(op.experts(), t, j, chosen.get(j));
                set(op.weights(), t, j, w[j]);
            }
        }
    }

    static void weigh(ForwardOp.WeighExperts op) {
        for (long t = 0; t < op.logits().rows(); t++) {
            double[] w = weights(row(op.logits(), t), chosen(op.experts(), t), op.spec());
            for (int j = 0; j < w.length; j++) {
                set(op.weights(), t, j, w[j]);
            }
        }
    }

    private static List<Integer> chosen(Tensor experts, long t) {
        return IntStream.range(0, (int) experts.cols())
                .mapToObj(j -> (int) get(experts, t, j))
                .toList();
    }

    private static double[] row(Tensor x, long t) {
        return IntStream.range(0, (int) x.cols()).mapToDouble(i -> get(x, t, i)).toArray();
    }

    private static List<Integer> choice(ForwardOp.Route op, double[] x) {
        double[] ranks = scores(x, op.spec().scores());
        for (int i = 0; op.bias() != null && i < ranks.length; i++) {
            ranks[i] += get(op.bias(), i);
        }
        Comparator<Integer> better = Comparator.comparingDouble((Integer i) -> -ranks[i]);
        var groups = op.spec().groups();
        List<Integer> seen = new ArrayList<>(IntStream.range(0, x.length).boxed().toList());
        if (groups != null) {
            int size = x.length / groups.count();
            double[] sums = new double[groups.count()];
            for (int g = 0; g < sums.length; g++) {
                sums[g] =
                        IntStream.range(g * size, (g + 1) * size)
                                .boxed()
                                .sorted(better)
                                .limit(groups.best())
                                .mapToDouble(i -> ranks[i])
                                .sum();
            }
            List<Integer> kept =
                    IntStream.range(0, sums.length)
                            .boxed()
                            .sorted(Comparator.comparingDouble(g -> -sums[g]))
                            .limit(groups.kept())
                            .toList();
            seen.removeIf(i -> !kept.contains(i / size));
        }
        return seen.stream().sorted(better).limit(op.experts().cols()).toList();
    }

    private static double[] scores(double[] x, Scores kind) {
        double[] s = new double[x.length];
        double all = 0;
        for (double v : x) {
            all += Math.exp(v);
        }
        for (int i = 0; i < s.length; i++) {
            s[i] =
                    switch (kind) {
                        case SOFTMAX -> Math.exp(x[i]) / all;
                        case SIGMOID -> 1 / (1 + Math.exp(-x[i]));
                        case SQRT_SOFTPLUS -> Math.sqrt(Math.log1p(Math.exp(x[i])));
                        case SPARSE_MIXER -> x[i];
                    };
        }
        return s;
    }

    static double[] weights(double[] x, List<Integer> chosen, RouterSpec spec) {
        double[] s = scores(x, spec.scores());
        double[] w = new double[chosen.size()];
        double sum = spec.eps();
        for (int j = 0; j < w.length; j++) {
            w[j] = s[chosen.get(j)];
            sum += w[j];
        }
        for (int j = 0; j < w.length; j++) {
            if (spec.scores() == Scores.SPARSE_MIXER) {
                w[j] = mixed(x, chosen, j, spec.jitter());
            }
            w[j] *= spec.renormalised() ? spec.factor() / sum : spec.factor();
        }
        return w;
    }

    private static double mixed(double[] x, List<Integer> chosen, int j, double jitter) {
        double best = x[chosen.get(j)];
        double sum = 0;
        for (int i = 0; i < x.length; i++) {
            boolean gone = chosen.subList(0, j).contains(i);
            boolean far = (best - x[i]) / Math.max(Math.abs(x[i]), best) > 2 * jitter;
            sum += gone || far ? 0 : Math.exp(x[i] - best);
        }
        return 1 / sum;
    }

    static void gradient(GradientOp.AccumulateRouteGrad op) {
        double h = 1e-6;
        for (long t = 0; t < op.logits().rows(); t++) {
            double[] x = row(op.logits(), t);
            List<Integer> chosen = chosen(op.experts(), t);
            for (int i = 0; i < x.length; i++) {
                double own = x[i];
                x[i] = own + h;
                double[] more = weights(x, chosen, op.spec());
                x[i] = own - h;
                double[] less = weights(x, chosen, op.spec());
                x[i] = own;
                double sum = 0;
                for (int j = 0; j < more.length; j++) {
                    sum += get(op.dweights(), t, j) * (more[j] - less[j]) / (2 * h);
                }
                set(op.dlogits(), t, i, get(op.dlogits(), t, i) + sum);
            }
        }
    }
}
