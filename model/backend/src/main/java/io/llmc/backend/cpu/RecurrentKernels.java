// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.D;
import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.RecurrentOp.Decay;
import io.llmc.backend.RecurrentOp.DeltaRule;
import io.llmc.backend.RecurrentOp.Heads;
import io.llmc.backend.RecurrentOp.Run;
import io.llmc.backend.RecurrentOp.StateSpace;
import io.llmc.backend.RecurrentOp.Steps;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.Arrays;
import java.util.List;
import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.FloatVector;

/// Recurrences whose state is a matrix for each head. A tile is one head of one sequence.
///
/// The columns of a state know nothing of each other. So some rows are prepared at a time, and a
/// panel of columns, which stays in the first cache, goes through all of them before the next does.
///
/// In F64: what a state gives may be small against its terms, and a norm behind it makes it large
/// again.
final class RecurrentKernels {
    /// Rows that are prepared at a time.
    private static final int ROWS = 32;

    /// Columns of a panel.
    private static final int WIDE = 4 * D.length();

    private static final int LANES = D.length();

    private static final double NORM_EPS = 1e-6;

    private final Workers workers;

    RecurrentKernels(Workers workers) {
        this.workers = workers;
    }

    /// Some rows of one head.
    ///
    /// @param q `[rows, keyDim]`; k too
    /// @param kept what the state keeps of itself, `[rows]` or `[rows, keyDim]`
    /// @param v `[rows, width]`, where width is whole panels; overwritten by what comes out
    private record Rows(float[] q, float[] k, float[] kept, boolean byChannel, double[] v) {}

    @FunctionalInterface
    private interface Preparation {
        /// @param row the first one
        Rows of(long row, int rows, int head, Scratch scratch);
    }

    @FunctionalInterface
    private interface March {
        /// Takes a panel of a head's state through some rows.
        void run(Rows rows, int count, int panel, double[] state, Scratch scratch);
    }

    /// Every head of every run.
    private void forEach(
            Heads heads, List<Run> runs, Tensor out, Preparation prepare, March steps) {
        int dk = heads.keyDim();
        int dv = heads.valueDim();
        int panels = Math.ceilDiv(dv, WIDE);
        int width = panels * WIDE;
        workers.forEach(
                Math.multiplyExact(runs.size(), heads.values()),
                (tile, scratch) -> {
                    Run run = runs.get(tile / heads.values());
                    int head = tile % heads.values();
                    double[] state = scratch.doubles(0, dk * width);
                    read(state, run.begin(), head, heads, scratch);
                    for (int from = 0; from < run.length(); from += ROWS) {
                        int rows = Math.min(ROWS, run.length() - from);
                        long row = (long) run.row() + from;
                        Rows prepared = prepare.of(row, rows, head, scratch);
                        for (int p = 0; p < panels; p++) {
                            steps.run(prepared, rows, p, state, scratch);
                        }
                        for (int r = 0; r < rows; r++) {
                            long at = (row + r) * out.cols() + (long) head * dv;
                            write(out, at, prepared.v(), r * width, dv, scratch);
                        }
                    }
                    if (run.end() != null) {
                        write(run.end(), state, head, heads, scratch);
                    }
                });
    }

    /// A state lies panel by panel, each `[keyDim, WIDE]`.
    private static void read(double[] state, Tensor begin, int head, Heads heads, Scratch scratch) {
        int dk = heads.keyDim();
        int dv = heads.valueDim();
        Arrays.fill(state, 0, dk * width(heads), 0);
        for (int c = 0; c < dv && begin != null; c += WIDE) {
            for (int i = 0; i < dk; i++) {
                long from = ((long) head * dk + i) * dv + c;
                read(state, c * dk + i * WIDE, begin, from, Math.min(WIDE, dv - c), scratch);
            }
        }
    }

    private static void write(Tensor end, double[] state, int head, Heads heads, Scratch scratch) {
        int dk = heads.keyDim();
        int dv = heads.valueDim();
        for (int c = 0; c < dv; c += WIDE) {
            for (int i = 0; i < dk; i++) {
                long to = ((long) head * dk + i) * dv + c;
                write(end, to, state, c * dk + i * WIDE, Math.min(WIDE, dv - c), scratch);
            }
        }
    }

    private static void read(double[] to, int at, Tensor x, long from, int n, Scratch scratch) {
        float[] row = scratch.floats(0, n);
        Lanes.read(row, 0, x.bytes(), DType.F32, from, n);
        for (int i = 0; i < n; i++) {
            to[at + i] = row[i];
        }
    }

    private static void write(Tensor x, long to, double[] from, int at, int n, Scratch scratch) {
        float[] row = scratch.floats(0, n);
        for (int i = 0; i < n; i++) {
            row[i] = (float) from[at + i];
        }
        Lanes.write(x.bytes(), DType.F32, to, row, 0, n);
    }

    void deltaRule(DeltaRule op) {
        Heads heads = op.heads();
        int dk = heads.keyDim();
        float[] rates = exponentials(op.decay().rate());
        float[] biases = parameters(op.decay().bias());
        forEach(
                heads,
                op.runs(),
                op.out(),
                (row, rows, head, scratch) -> {
                    int key = head / (heads.values() / heads.keys());
                    float[] q = heads(op.q(), row, rows, key, dk, 1, scratch);
                    float[] k = heads(op.k(), row, rows, key, dk, 2, scratch);
                    normalise(q, rows, dk, Math.sqrt(dk));
                    normalise(k, rows, dk, 1);
                    float[] kept = kept(op.decay(), heads, row, rows, head, rates, biases, scratch);
                    float[] beta = column(op.beta(), row, rows, head, 4, scratch);
                    FloatVector one = FloatVector.broadcast(F, 1f);
                    for (int i = 0; i < Lanes.padded(rows); i += N) {
                        Exp.timesSigmoid(one, FloatVector.fromArray(F, beta, i)).intoArray(beta, i);
                    }
                    double[] v = values(op.v(), row, rows, head, heads.valueDim(), scratch);
                    return new Rows(q, k, kept, op.decay().byChannel(heads), v);
                },
                (rows, count, panel, state, scratch) ->
                        delta(rows, count, panel, state, dk, width(heads), scratch.floats(4, 0)));
    }

    private static int width(Heads heads) {
        return Math.ceilDiv(heads.valueDim(), WIDE) * WIDE;
    }

    /// `S = a S; S += k (beta (v - S^T k))^T; v = S^T q`
    ///
    /// @param width of v
    private static void delta(
            Rows rows, int count, int panel, double[] s, int dk, int width, float[] beta) {
        float[] q = rows.q();
        float[] k = rows.k();
        float[] a = rows.kept();
        int across = rows.byChannel() ? 1 : 0;
        int perRow = rows.byChannel() ? dk : 1;
        int begin = panel * dk * WIDE;
        for (int r = 0; r < count; r++) {
            DoubleVector u0 = DoubleVector.zero(D);
            DoubleVector u1 = DoubleVector.zero(D);
            DoubleVector u2 = DoubleVector.zero(D);
            DoubleVector u3 = DoubleVector.zero(D);
            for (int i = 0; i < dk; i++) {
                int at = begin + i * WIDE;
                DoubleVector ki =
                        DoubleVector.broadcast(
                                D, (double) a[r * perRow + i * across] * k[r * dk + i]);
                u0 = DoubleVector.fromArray(D, s, at).fma(ki, u0);
                u1 = DoubleVector.fromArray(D, s, at + LANES).fma(ki, u1);
                u2 = DoubleVector.fromArray(D, s, at + 2 * LANES).fma(ki, u2);
                u3 = DoubleVector.fromArray(D, s, at + 3 * LANES).fma(ki, u3);
            }
            int to = r * width + panel * WIDE;
            double[] v = rows.v();
            DoubleVector b = DoubleVector.broadcast(D, beta[r]);
            DoubleVector.fromArray(D, v, to).sub(u0).mul(b).intoArray(v, to);
            DoubleVector.fromArray(D, v, to + LANES).sub(u1).mul(b).intoArray(v, to + LANES);
            DoubleVector.fromArray(D, v, to + 2 * LANES)
                    .sub(u2)
                    .mul(b)
                    .intoArray(v, to + 2 * LANES);
            DoubleVector.fromArray(D, v, to + 3 * LANES)
                    .sub(u3)
                    .mul(b)
                    .intoArray(v, to + 3 * LANES);
            step(s, begin, a, r * perRow, across, k, q, r * dk, dk, v, to);
        }
    }

    /// `S = a S + k v^T; v = S^T q`
    ///
    /// @param across from one channel's a to the next
    /// @param row where k and q begin
    private static void step(
            double[] s,
            int begin,
            float[] a,
            int from,
            int across,
            float[] k,
            float[] q,
            int row,
            int dk,
            double[] v,
            int to) {
        DoubleVector v0 = DoubleVector.fromArray(D, v, to);
        DoubleVector v1 = DoubleVector.fromArray(D, v, to + LANES);
        DoubleVector v2 = DoubleVector.fromArray(D, v, to + 2 * LANES);
        DoubleVector v3 = DoubleVector.fromArray(D, v, to + 3 * LANES);
        DoubleVector o0 = DoubleVector.zero(D);
        DoubleVector o1 = DoubleVector.zero(D);
        DoubleVector o2 = DoubleVector.zero(D);
        DoubleVector o3 = DoubleVector.zero(D);
        for (int i = 0; i < dk; i++) {
            int at = begin + i * WIDE;
            DoubleVector ai = DoubleVector.broadcast(D, a[from + i * across]);
            DoubleVector ki = DoubleVector.broadcast(D, k[row + i]);
            DoubleVector qi = DoubleVector.broadcast(D, q[row + i]);
            DoubleVector s0 = DoubleVector.fromArray(D, s, at).mul(ai);
            DoubleVector s1 = DoubleVector.fromArray(D, s, at + LANES).mul(ai);
            DoubleVector s2 = DoubleVector.fromArray(D, s, at + 2 * LANES).mul(ai);
            DoubleVector s3 = DoubleVector.fromArray(D, s, at + 3 * LANES).mul(ai);
            s0 = v0.fma(ki, s0);
            s1 = v1.fma(ki, s1);
            s2 = v2.fma(ki, s2);
            s3 = v3.fma(ki, s3);
            s0.intoArray(s, at);
            s1.intoArray(s, at + LANES);
            s2.intoArray(s, at + 2 * LANES);
            s3.intoArray(s, at + 3 * LANES);
            o0 = s0.fma(qi, o0);
            o1 = s1.fma(qi, o1);
            o2 = s2.fma(qi, o2);
            o3 = s3.fma(qi, o3);
        }
        o0.intoArray(v, to);
        o1.intoArray(v, to + LANES);
        o2.intoArray(v, to + 2 * LANES);
        o3.intoArray(v, to + 3 * LANES);
    }

    /// Each row divided by `size` and the root of its squares.
    private static void normalise(float[] x, int rows, int cols, double size) {
        for (int r = 0; r < rows; r++) {
            double squares = 0;
            for (int i = r * cols; i < (r + 1) * cols; i++) {
                squares += (double) x[i] * x[i];
            }
            float factor = (float) (1 / (Math.sqrt(squares + NORM_EPS) * size));
            for (int i = r * cols; i < (r + 1) * cols; i++) {
                x[i] *= factor;
            }
        }
    }

    private static float[] kept(
            Decay decay,
            Heads heads,
            long row,
            int rows,
            int head,
            float[] rates,
            float[] biases,
            Scratch scratch) {
        int width = decay.byChannel(heads) ? heads.keyDim() : 1;
        float[] x = heads(decay.x(), row, rows, head, width, 3, scratch);
        for (int r = 0; r < rows; r++) {
            for (int i = 0; i < width; i++) {
                x[r * width + i] += biases[head * width + i];
            }
        }
        float rate = rates[head];
        FloatVector bound = FloatVector.broadcast(F, decay.bound());
        for (int i = 0; i < Lanes.padded((long) rows * width); i += N) {
            FloatVector g = FloatVector.fromArray(F, x, i);
            FloatVector log =
                    decay.bound() == 0
                            ? Exp.softplus(g).mul(-rate)
                            : Exp.timesSigmoid(bound, g.mul(rate));
            Exp.exp(log).intoArray(x, i);
        }
        return x;
    }

    void stateSpace(StateSpace op) {
        Heads heads = op.heads();
        int dk = heads.keyDim();
        int dv = heads.valueDim();
        int width = width(heads);
        float[] rates = exponentials(op.steps().rate());
        float[] biases = parameters(op.steps().bias());
        float[] skips = parameters(op.skip());
        forEach(
                heads,
                op.runs(),
                op.out(),
                (row, rows, head, scratch) -> {
                    int key = head / (heads.values() / heads.keys());
                    float[] q = heads(op.q(), row, rows, key, dk, 1, scratch);
                    float[] k = heads(op.k(), row, rows, key, dk, 2, scratch);
                    float[] dt = column(op.steps().x(), row, rows, head, 4, scratch);
                    float[] kept = scratch.floats(3, Lanes.padded(rows));
                    steps(op.steps(), dt, kept, rows, rates[head], biases[head]);
                    double[] v = values(op.v(), row, rows, head, dv, scratch);
                    double[] skipped = scratch.doubles(2, ROWS * width);
                    for (int r = 0; r < rows; r++) {
                        for (int c = r * width; c < (r + 1) * width; c++) {
                            skipped[c] = skips[head] * v[c];
                            v[c] *= dt[r];
                        }
                    }
                    return new Rows(q, k, kept, false, v);
                },
                (rows, count, panel, state, scratch) -> {
                    double[] skipped = scratch.doubles(2, 0);
                    double[] v = rows.v();
                    int begin = panel * dk * WIDE;
                    for (int r = 0; r < count; r++) {
                        int to = r * width + panel * WIDE;
                        step(
                                state,
                                begin,
                                rows.kept(),
                                r,
                                0,
                                rows.k(),
                                rows.q(),
                                r * dk,
                                dk,
                                v,
                                to);
                        for (int c = to; c < to + WIDE; c++) {
                            v[c] += skipped[c];
                        }
                    }
                });
    }

    /// `dt = clip(softplus(dt + bias)); kept = exp(-rate dt)`
    private static void steps(
            Steps spec, float[] dt, float[] kept, int rows, float rate, float bias) {
        for (int i = 0; i < Lanes.padded(rows); i += N) {
            FloatVector step =
                    Exp.softplus(FloatVector.fromArray(F, dt, i).add(bias))
                            .max(spec.least())
                            .min(spec.most());
            step.intoArray(dt, i);
            Exp.exp(step.mul(-rate)).intoArray(kept, i);
        }
    }

    /// One head of some rows, one row behind the other.
    private static float[] heads(
            Tensor x, long row, int rows, int head, int dim, int slot, Scratch scratch) {
        float[] out = scratch.floats(slot, Lanes.padded((long) ROWS * dim));
        for (int r = 0; r < rows; r++) {
            long from = (row + r) * x.cols() + (long) head * dim;
            Lanes.read(out, r * dim, x.bytes(), DType.F32, from, dim);
        }
        return out;
    }

    private static float[] column(
            Tensor x, long row, int rows, int column, int slot, Scratch scratch) {
        return heads(x, row, rows, column, 1, slot, scratch);
    }

    /// One head of some rows, each padded to whole panels.
    private static double[] values(
            Tensor v, long row, int rows, int head, int dim, Scratch scratch) {
        int width = Math.ceilDiv(dim, WIDE) * WIDE;
        double[] out = scratch.doubles(1, ROWS * width);
        for (int r = 0; r < rows; r++) {
            long from = (row + r) * v.cols() + (long) head * dim;
            read(out, r * width, v, from, dim, scratch);
            Arrays.fill(out, r * width + dim, (r + 1) * width, 0);
        }
        return out;
    }

    private static float[] parameters(Tensor t) {
        float[] all = new float[Math.toIntExact(t.shape().size())];
        Lanes.read(all, 0, t.bytes(), t.dtype(), 0, all.length);
        return all;
    }

    private static float[] exponentials(Tensor t) {
        float[] all = parameters(t);
        for (int i = 0; i < all.length; i++) {
            all[i] = (float) StrictMath.exp(all[i]);
        }
        return all;
    }
}
