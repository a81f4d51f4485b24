// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F64;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.LossOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Arrays;

/// Losses inside a model: how far its hidden states and its attention are from a teacher's.
final class StateLossKernels {
    private final Workers workers;

    StateLossKernels(Workers workers) {
        this.workers = workers;
    }

    void hidden(LossOp.AccumulateHiddenLoss op) {
        workers.forEach(Math.toIntExact(op.x().rows()), (row, scratch) -> hidden(op, row, scratch));
    }

    private static void hidden(LossOp.AccumulateHiddenLoss op, int row, Scratch scratch) {
        int n = Math.toIntExact(op.x().cols());
        float[] x = read(op.x(), row, n, scratch, 0);
        float[] t = read(op.target(), row, n, scratch, 1);
        Slope slope =
                switch (op.distance()) {
                    case MSE -> meanSquare(x, t, n, op.scale());
                    case COSINE -> cosine(x, t, n, op.scale());
                };
        op.losses().bytes().set(F64, 8L * row, slope.loss);
        if (op.dx() == null) {
            return;
        }
        float[] d = read(op.dx(), row, n, scratch, 2);
        for (int i = 0; i < n; i++) {
            d[i] += (float) (slope.ofX * x[i] + slope.ofT * t[i]);
        }
        Lanes.write(op.dx().bytes(), DType.F32, (long) row * n, d, 0, n);
    }

    /// A loss and its gradient `ofX x + ofT t` with respect to the row x; t is the target.
    private record Slope(double loss, double ofX, double ofT) {}

    /// `mean (x - t)^2`: `2 (x - t) / n`.
    private static Slope meanSquare(float[] x, float[] t, int n, double scale) {
        double squares = 0;
        for (int i = 0; i < n; i++) {
            double d = (double) x[i] - t[i];
            squares += d * d;
        }
        return new Slope(squares / n, 2 * scale / n, -2 * scale / n);
    }

    /// `1 - x t / (|x| |t|)`: `(x t / |x|^2 x - t) / (|x| |t|)`.
    private static Slope cosine(float[] x, float[] t, int n, double scale) {
        double xx = dot(x, x, n);
        double xt = dot(x, t, n);
        double norms = Math.sqrt(xx * dot(t, t, n));
        // A row of zeros has no direction: nothing to learn from it.
        return norms == 0
                ? new Slope(0, 0, 0)
                : new Slope(1 - xt / norms, scale * xt / (norms * xx), -scale / norms);
    }

    private static float[] read(Tensor t, long row, int n, Scratch scratch, int slot) {
        float[] values = scratch.floats(slot, Lanes.padded(n));
        Lanes.read(values, 0, t.bytes(), DType.F32, row * n, n);
        return values;
    }

    private static double dot(float[] x, float[] y, int n) {
        double sum = 0;
        for (int i = 0; i < n; i++) {
            sum += (double) x[i] * y[i];
        }
        return sum;
    }

    /// One worker does a sequence's KV head with all of its queries in order, so that nobody else
    /// adds to the same keys.
    void attention(LossOp.AccumulateAttentionLoss op) {
        AttentionSpec spec = op.student().spec();
        int sequences = Math.toIntExact(op.student().q().rows() / spec.reach().length());
        int kv = spec.heads().kv();
        workers.forEach(sequences * kv, (tile, _) -> new Head(op, tile % kv, tile / kv).run());
    }

    /// Keys of one head, and the queries of it one by one.
    private static final class Side {
        private final LossOp.Scores scores;
        private final AttentionSpec spec;
        private final AttentionSpec.Heads heads;
        private final AttentionSpec.Reach reach;
        private final int sequence;
        private final float[] alibi;
        private final float[] query;
        private final double[] values;

        /// Of the scores by the products.
        private final double[] slopes;

        private float[] keys;
        private int kvHead = -1;

        Side(LossOp.Scores scores, int sequence) {
            this.scores = scores;
            this.spec = scores.spec();
            this.heads = spec.heads();
            this.reach = spec.reach();
            this.sequence = sequence;
            this.alibi = AttentionKernels.perHead(scores.slopes());
            this.query = new float[Lanes.padded(heads.dim())];
            this.values = new double[reach.keys()];
            this.slopes = new double[reach.keys()];
        }

        /// Logarithms of the probabilities of keys up to the query's position, minus infinity for
        /// those out of sight.
        double[] logs(int head, int t) {
            readKeys(head / heads.group());
            int dim = heads.dim();
            long row = (long) sequence * reach.length() + t;
            long at = row * heads.queryWidth() + (long) head * dim;
            Lanes.read(query, 0, scores.q().bytes(), DType.F32, at, dim);
            // A probability's logarithm is its score less log sum exp, the maximum taken out first.
            double max = Double.NEGATIVE_INFINITY;
            int first = reach.first(t);
            int position = reach.position(t);
            Arrays.fill(values, 0, first, Double.NEGATIVE_INFINITY);
            for (int j = first; j <= position; j++) {
                double s = 0;
                for (int d = 0; d < dim; d++) {
                    s += (double) query[d] * keys[j * dim + d];
                }
                s *= spec.scale();
                slopes[j] = 1;
                if (spec.softcap() > 0) {
                    double tanh = Math.tanh(s / spec.softcap());
                    s = spec.softcap() * tanh;
                    slopes[j] = 1 - tanh * tanh;
                }
                // Added after the cap, so it has no part in the slope.
                if (alibi != null) {
                    s += (double) alibi[head] * (j - position);
                }
                values[j] = s;
                max = Math.max(max, s);
            }
            double sum = 0;
            for (int j = first; j <= position; j++) {
                sum += Math.exp(values[j] - max);
            }
            double log = max + Math.log(sum);
            for (int j = first; j <= position; j++) {
                values[j] -= log;
            }
            return values;
        }

        /// Keys stay while head after head of a group asks them.
        private void readKeys(int head) {
            if (head == kvHead) {
                return;
            }
            kvHead = head;
            int dim = heads.dim();
            keys = new float[reach.keys() * dim + Lanes.N];
            for (int j = 0; j < reach.keys(); j++) {
                long row = (long) sequence * reach.keys() + j;
                long at = row * heads.keyWidth() + (long) head * dim;
                Lanes.read(keys, j * dim, scores.k().bytes(), DType.F32, at, dim);
            }
        }
    }

    private static final class Head {
        private final LossOp.AccumulateAttentionLoss op;
        private final AttentionSpec spec;
        private final AttentionSpec.Heads heads;
        private final AttentionSpec.Reach reach;
        private final Side student;
        private final Side teacher;
        private final int kvHead;
        private final int sequence;
        private final double[] dk;
        private final double[] dq;

        Head(LossOp.AccumulateAttentionLoss op, int kvHead, int sequence) {
            this.op = op;
            this.spec = op.student().spec();
            this.heads = spec.heads();
            this.reach = spec.reach();
            this.student = new Side(op.student(), sequence);
            this.teacher = new Side(op.teacher(), sequence);
            this.kvHead = kvHead;
            this.sequence = sequence;
            this.dk = new double[reach.keys() * heads.dim()];
            this.dq = new double[heads.dim()];
        }

        /// Head by head of the group, query by query: keys' sums run in that order.
        void run() {
            int group = heads.group();
            for (int head = kvHead * group; head < (kvHead + 1) * group; head++) {
                for (int t = 0; t < reach.length(); t++) {
                    query(head, t);
                }
            }
            if (op.dk() != null) {
                for (int j = 0; j < reach.keys(); j++) {
                    long row = (long) sequence * reach.keys() + j;
                    add(op.dk(), row, kvHead, dk, j * heads.dim());
                }
            }
        }

        /// `KL(p, q)`, and its gradient: `q - p` by a score, then through cap and scale to q and k.
        private void query(int head, int t) {
            double[] logQ = student.logs(head, t);
            double[] logP = teacher.logs(head, t);
            int dim = heads.dim();
            long row = (long) sequence * reach.length() + t;
            double loss = 0;
            Arrays.fill(dq, 0);
            // A key out of sight has p = q = 0, and adds nothing.
            for (int j = 0; j <= reach.position(t); j++) {
                double p = Math.exp(logP[j]);
                loss += p == 0 ? 0 : p * (logP[j] - logQ[j]);
                double g = Math.exp(logQ[j]) - p;
                if (op.dq() == null || Double.isInfinite(logQ[j])) {
                    continue;
                }
                g *= (double) op.scale() * spec.scale() * student.slopes[j];
                for (int d = 0; d < dim; d++) {
                    dq[d] += g * student.keys[j * dim + d];
                    dk[j * dim + d] += g * student.query[d];
                }
            }
            op.losses().bytes().set(F64, 8 * (row * heads.count() + head), loss);
            if (op.dq() != null) {
                add(op.dq(), row, head, dq, 0);
            }
        }

        /// Adds a head's F64 sums to the F32 gradient, in one rounding.
        private void add(Tensor to, long row, int head, double[] x, int from) {
            int dim = heads.dim();
            long at = row * to.cols() + (long) head * dim;
            float[] values = new float[Lanes.padded(dim)];
            Lanes.read(values, 0, to.bytes(), DType.F32, at, dim);
            for (int d = 0; d < dim; d++) {
                values[d] += (float) x[from + d];
            }
            Lanes.write(to.bytes(), DType.F32, at, values, 0, dim);
        }
    }
}
