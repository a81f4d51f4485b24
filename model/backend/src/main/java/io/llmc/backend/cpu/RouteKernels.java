// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.RouterSpec;
import io.llmc.backend.RouterSpec.Scores;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/// Experts of tokens, and their weights; in F64, by the one exponential that is the same on every
/// machine.
final class RouteKernels {
    private final Workers workers;

    RouteKernels(Workers workers) {
        this.workers = workers;
    }

    void route(ForwardOp.Route op) {
        int n = Math.toIntExact(op.logits().cols());
        int k = Math.toIntExact(op.experts().cols());
        float[] bias = op.bias() == null ? null : floats(op.bias(), n);
        workers.forEachRow(
                op.logits().rows(),
                n,
                (t, scratch) -> {
                    Token token = token(op.spec(), op.logits(), t, n, scratch);
                    double[] ranks = token.ranks(bias, scratch.doubles(1, n));
                    double[] weights = scratch.doubles(2, k);
                    double chosen = 0;
                    for (int j = 0; j < k; j++) {
                        int best = best(ranks, n);
                        weights[j] = token.weight(best, ranks);
                        chosen += weights[j];
                        op.experts().bytes().set(I32, 4 * (t * k + j), best);
                        ranks[best] = Double.NaN;
                    }
                    token.put(op.weights(), t, weights, chosen);
                });
    }

    void weigh(ForwardOp.WeighExperts op) {
        int n = Math.toIntExact(op.logits().cols());
        int k = Math.toIntExact(op.experts().cols());
        workers.forEachRow(
                op.logits().rows(),
                n,
                (t, scratch) -> {
                    Token token = token(op.spec(), op.logits(), t, n, scratch);
                    double[] ranks = token.ranks(null, scratch.doubles(1, n));
                    double[] weights = scratch.doubles(2, k);
                    double chosen = 0;
                    for (int j = 0; j < k; j++) {
                        int expert = op.experts().bytes().get(I32, 4 * (t * k + j));
                        weights[j] = token.weight(expert, ranks);
                        chosen += weights[j];
                        ranks[expert] = Double.NaN;
                    }
                    token.put(op.weights(), t, weights, chosen);
                });
    }

    private static float[] floats(Tensor x, int n) {
        float[] values = new float[Lanes.padded(n)];
        Lanes.read(values, 0, x.bytes(), x.dtype(), 0, n);
        return values;
    }

    /// The first of the largest; the others are NaN.
    private static int best(double[] ranks, int n) {
        int best = 0;
        for (int i = 1; i < n; i++) {
            if (ranks[i] > ranks[best] || Double.isNaN(ranks[best])) {
                best = i;
            }
        }
        return best;
    }

    private static Token token(RouterSpec spec, Tensor logits, long t, int n, Scratch scratch) {
        float[] x = scratch.floats(0, n);
        Lanes.read(x, 0, logits.bytes(), DType.F32, t * n, n);
        double max = Double.NEGATIVE_INFINITY;
        for (int i = 0; i < n; i++) {
            max = Math.max(max, x[i]);
        }
        double[] s = scratch.doubles(0, n);
        double sum = 0;
        for (int i = 0; i < n; i++) {
            s[i] =
                    switch (spec.scores()) {
                        case SOFTMAX -> StrictMath.exp(x[i] - max);
                        case SIGMOID -> sigmoid(x[i]);
                        case SQRT_SOFTPLUS ->
                                Math.sqrt(
                                        Math.max(x[i], 0)
                                                + StrictMath.log1p(
                                                        StrictMath.exp(-Math.abs(x[i]))));
                        case SPARSE_MIXER -> x[i];
                    };
            sum += s[i];
        }
        return new Token(spec, n, x, s, spec.scores() == Scores.SOFTMAX ? sum : 1);
    }

    private static double sigmoid(double x) {
        return 1 / (1 + StrictMath.exp(-x));
    }

    /// One token's logits and scores.
    ///
    /// @param s scores, times `unit`
    private record Token(RouterSpec spec, int n, float[] x, double[] s, double unit) {
        /// What experts are chosen by; NaN for those that cannot be.
        double[] ranks(float[] bias, double[] ranks) {
            for (int i = 0; i < n; i++) {
                // Scores rise with logits, which tell apart what scores round to the same.
                ranks[i] = bias == null && spec.groups() == null ? x[i] : s[i] / unit;
                ranks[i] += bias == null ? 0 : bias[i];
            }
            if (spec.groups() != null) {
                drop(ranks, spec.groups());
            }
            return ranks;
        }

        private void drop(double[] ranks, RouterSpec.Groups groups) {
            int size = n / groups.count();
            double[] sums = new double[groups.count()];
            for (int g = 0; g < sums.length; g++) {
                double first = Double.NEGATIVE_INFINITY;
                double second = Double.NEGATIVE_INFINITY;
                for (int i = g * size; i < (g + 1) * size; i++) {
                    second = Math.max(second, Math.min(first, ranks[i]));
                    first = Math.max(first, ranks[i]);
                }
                sums[g] = groups.best() == 1 ? first : first + second;
            }
            boolean[] kept = new boolean[sums.length];
            for (int j = 0; j < groups.kept(); j++) {
                int best = best(sums, sums.length);
                kept[best] = true;
                sums[best] = Double.NaN;
            }
            for (int g = 0; g < sums.length; g++) {
                if (!kept[g]) {
                    Arrays.fill(ranks, g * size, (g + 1) * size, Double.NaN);
                }
            }
        }

        /// The score of the next pick, times the unit.
        double weight(int pick, double[] ranks) {
            if (spec.scores() != Scores.SPARSE_MIXER) {
                return s[pick];
            }
            double sum = 0;
            for (int i = 0; i < n; i++) {
                sum += Double.isNaN(ranks[i]) ? 0 : share(i, x[pick]);
            }
            return 1 / sum;
        }

        /// `e^(x - best)`, or 0 where it is too far below.
        double share(int i, double best) {
            double far = (best - x[i]) / Math.max(Math.abs((double) x[i]), best);
            return far > 2 * spec.jitter() ? 0 : StrictMath.exp(x[i] - best);
        }

        /// @param weights of the experts that are chosen
        void put(Tensor out, long t, double[] weights, double chosen) {
            long k = out.cols();
            double total = total(chosen);
            for (int j = 0; j < k; j++) {
                float w = (float) (spec.factor() * (float) weights[j] / total);
                out.bytes().set(F32, 4 * (t * k + j), w);
            }
        }

        /// What the sum of the chosen makes of the divisor of all.
        double total(double chosen) {
            return spec.renormalised() ? chosen + spec.eps() * unit : unit;
        }
    }

    /// With s the scores and c the chosen: `ds_c = (factor dw_c - sum_k dw_k w_k) / sum` where they
    /// are renormalised, else `ds_c = factor dw_c`; then the scores' own slopes.
    void gradient(GradientOp.AccumulateRouteGrad op) {
        int n = Math.toIntExact(op.logits().cols());
        int k = Math.toIntExact(op.weights().cols());
        workers.forEachRow(
                op.logits().rows(),
                n,
                (t, scratch) -> {
                    Token token = token(op.spec(), op.logits(), t, n, scratch);
                    double[] dx = scratch.doubles(1, n);
                    Arrays.fill(dx, 0, n, 0);
                    int[] experts = scratch.words(k);
                    double[] dw = scratch.doubles(2, k);
                    double cross = 0;
                    for (int j = 0; j < k; j++) {
                        long at = 4 * (t * k + j);
                        experts[j] = op.experts().bytes().get(I32, at);
                        dw[j] = op.dweights().bytes().get(F32, at);
                        cross += dw[j] * op.weights().bytes().get(F32, at);
                    }
                    if (op.spec().scores() == Scores.SPARSE_MIXER) {
                        mixed(token, experts, dw, k, dx);
                    } else {
                        scored(token, experts, dw, k, cross, dx);
                    }
                    MemorySegment sums = op.dlogits().bytes();
                    for (int i = 0; i < n; i++) {
                        long at = 4 * (t * n + i);
                        sums.set(F32, at, (float) (sums.get(F32, at) + dx[i]));
                    }
                });
    }

    private static void scored(
            Token token, int[] experts, double[] dw, int k, double cross, double[] dx) {
        RouterSpec spec = token.spec();
        double[] s = token.s();
        for (int i = 0; i < token.n(); i++) {
            s[i] /= token.unit();
        }
        double chosen = spec.eps();
        for (int j = 0; j < k; j++) {
            chosen += s[experts[j]];
        }
        for (int j = 0; j < k; j++) {
            double d = spec.factor() * dw[j];
            dx[experts[j]] = spec.renormalised() ? (d - cross) / chosen : d;
        }
        double mean = 0;
        for (int i = 0; i < token.n(); i++) {
            mean += dx[i] * s[i];
        }
        for (int i = 0; i < token.n(); i++) {
            dx[i] =
                    switch (spec.scores()) {
                        case SOFTMAX -> s[i] * (dx[i] - mean);
                        case SIGMOID -> s[i] * (1 - s[i]) * dx[i];
                        case SQRT_SOFTPLUS ->
                                dx[i] == 0 ? 0 : sigmoid(token.x()[i]) / (2 * s[i]) * dx[i];
                        case SPARSE_MIXER -> throw new AssertionError();
                    };
        }
    }

    /// Each pick's softmax, of the logits that are left and near.
    private static void mixed(Token token, int[] experts, double[] dw, int k, double[] dx) {
        double[] left = token.s();
        double[] p = new double[token.n()];
        for (int j = 0; j < k; j++) {
            double best = token.x()[experts[j]];
            double sum = 0;
            for (int i = 0; i < token.n(); i++) {
                p[i] = Double.isNaN(left[i]) ? 0 : token.share(i, best);
                sum += p[i];
            }
            double own = token.spec().factor() * dw[j] / sum;
            for (int i = 0; i < token.n(); i++) {
                dx[i] += own * ((i == experts[j] ? 1 : 0) - p[i] / sum);
            }
            left[experts[j]] = Double.NaN;
        }
    }
}
