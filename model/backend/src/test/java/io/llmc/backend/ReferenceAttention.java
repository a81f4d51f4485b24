// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceGradients.add;
import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.tensor.Tensor;
import java.util.Arrays;

/// Attention, its gradient and its loss, query by query in double precision.
final class ReferenceAttention {
    private ReferenceAttention() {}

    /// What one query of one head sees.
    ///
    /// @param row of the query in q
    /// @param key0 row of the sequence's first key
    /// @param at column of the head in q
    /// @param keyAt column of its keys in k
    /// @param p probabilities of all keys of the sequence, 0 where the query does not see
    /// @param sink probability of the head's sink
    /// @param slope of the scores by the scaled products
    private record Seen(
            long row, long key0, long at, long keyAt, double[] p, double sink, double[] slope) {}

    /// Who sees whom, said another way than the kernels do: pair by pair.
    private static boolean sees(AttentionSpec.Reach reach, int position, int key) {
        return key <= position
                && (reach.window() == 0 || position - key < reach.window())
                && (reach.chunk() == 0 || position / reach.chunk() == key / reach.chunk());
    }

    private static Seen seen(LossOp.Scores x, Tensor sinks, long row, int head) {
        AttentionSpec spec = x.spec();
        AttentionSpec.Reach reach = spec.reach();
        int dim = spec.heads().dim();
        long key0 = row / reach.length() * reach.keys();
        long at = (long) head * dim;
        long keyAt = (long) head * spec.heads().kv() / spec.heads().count() * dim;
        int position = reach.keys() - reach.length() + (int) (row % reach.length());
        double[] scores = new double[reach.keys()];
        double[] slope = new double[reach.keys()];
        for (int s = 0; s < reach.keys(); s++) {
            if (!sees(reach, position, s)) {
                scores[s] = Double.NEGATIVE_INFINITY;
                continue;
            }
            double dot = 0;
            for (int d = 0; d < dim; d++) {
                dot += get(x.q(), row, at + d) * get(x.k(), key0 + s, keyAt + d);
            }
            dot *= spec.scale();
            double tanh = spec.softcap() > 0 ? Math.tanh(dot / spec.softcap()) : 0;
            slope[s] = 1 - tanh * tanh;
            scores[s] = spec.softcap() > 0 ? spec.softcap() * tanh : dot;
            if (x.slopes() != null) {
                scores[s] += get(x.slopes(), head) * (s - position);
            }
        }
        double sink = sinks == null ? Double.NEGATIVE_INFINITY : get(sinks, head);
        double max = Math.max(sink, Arrays.stream(scores).max().orElseThrow());
        double sum = Math.exp(sink - max);
        for (double score : scores) {
            sum += Math.exp(score - max);
        }
        double[] p = new double[scores.length];
        for (int s = 0; s < p.length; s++) {
            p[s] = Math.exp(scores[s] - max) / sum;
        }
        return new Seen(row, key0, at, keyAt, p, Math.exp(sink - max) / sum, slope);
    }

    private static Seen seen(ForwardOp.Attention op, long row, int head) {
        var scores = new LossOp.Scores(op.q(), op.k(), op.slopes(), op.spec());
        return seen(scores, op.sinks(), row, head);
    }

    static void forward(ForwardOp.Attention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        int dim = heads.valueDim();
        for (long row = 0; row < op.q().rows(); row++) {
            for (int h = 0; h < heads.count(); h++) {
                Seen seen = seen(op, row, h);
                long valueAt = seen.keyAt / heads.dim() * dim;
                for (int d = 0; d < dim; d++) {
                    double sum = 0;
                    for (int s = 0; s < seen.p.length; s++) {
                        sum += seen.p[s] * get(op.v(), seen.key0 + s, valueAt + d);
                    }
                    set(op.out(), row, (long) h * dim + d, sum);
                }
            }
        }
    }

    static void gradient(GradientOp.AccumulateAttentionGrad op) {
        AttentionSpec.Heads heads = op.forward().spec().heads();
        for (int h = 0; h < heads.count(); h++) {
            for (long row = 0; row < op.dout().rows(); row++) {
                gradient(op, seen(op.forward(), row, h), h);
            }
        }
    }

    private static void gradient(GradientOp.AccumulateAttentionGrad op, Seen seen, int head) {
        ForwardOp.Attention forward = op.forward();
        AttentionSpec spec = forward.spec();
        int dim = spec.heads().valueDim();
        long at = (long) head * dim;
        long valueAt = seen.keyAt / spec.heads().dim() * dim;
        double[] dp = new double[seen.p.length];
        double mean = 0;
        for (int s = 0; s < dp.length; s++) {
            for (int d = 0; d < dim; d++) {
                double g = get(op.dout(), seen.row, at + d);
                dp[s] += g * get(forward.v(), seen.key0 + s, valueAt + d);
                add(op.dv(), seen.key0 + s, valueAt + d, seen.p[s] * g);
            }
            mean += seen.p[s] * dp[s];
        }
        for (int s = 0; s < dp.length; s++) {
            double g = seen.p[s] * (dp[s] - mean) * seen.slope[s] * spec.scale();
            addProduct(op.dq(), op.dk(), forward.q(), forward.k(), seen, s, g, spec);
        }
        if (op.dsinks() != null) {
            add(op.dsinks(), head, -seen.sink * mean);
        }
    }

    /// The gradients of a query and a key, by that of their product.
    private static void addProduct(
            Tensor dq,
            Tensor dk,
            Tensor q,
            Tensor k,
            Seen seen,
            int key,
            double g,
            AttentionSpec spec) {
        for (int d = 0; g != 0 && d < spec.heads().dim(); d++) {
            add(dq, seen.row, seen.at + d, g * get(k, seen.key0 + key, seen.keyAt + d));
            add(dk, seen.key0 + key, seen.keyAt + d, g * get(q, seen.row, seen.at + d));
        }
    }

    static void loss(LossOp.AccumulateAttentionLoss op) {
        AttentionSpec spec = op.student().spec();
        for (long r = 0; r < op.losses().rows(); r++) {
            for (int h = 0; h < spec.heads().count(); h++) {
                double[] p = seen(op.teacher(), null, r, h).p;
                Seen student = seen(op.student(), null, r, h);
                double loss = 0;
                for (int s = 0; s < p.length; s++) {
                    loss += p[s] == 0 ? 0 : p[s] * Math.log(p[s] / student.p[s]);
                    double g = op.scale() * spec.scale() * student.slope[s];
                    if (op.dq() != null) {
                        addProduct(
                                op.dq(),
                                op.dk(),
                                op.student().q(),
                                op.student().k(),
                                student,
                                s,
                                g * (student.p[s] - p[s]),
                                spec);
                    }
                }
                set(op.losses(), r, h, loss);
            }
        }
    }
}
