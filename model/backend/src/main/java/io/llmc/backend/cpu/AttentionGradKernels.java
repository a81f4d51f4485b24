// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.ForwardOp.AttentionSpec;
import io.llmc.backend.GradientOp;
import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;

/// The gradient of causal attention, as FlashAttention has it (Dao et al., 2022, arXiv 2205.14135,
/// algorithm 4): probabilities are computed again for a few queries at a time.
///
/// One worker does a sequence's KV head with all of its queries in order, so that nobody else adds
/// to the same keys.
final class AttentionGradKernels {
    /// Queries of a tile: whole panels on every CPU.
    private static final int QUERIES = 64;

    private static final int MR = PortableGemm.MR;
    private static final int NR = PortableGemm.NR;

    private final Workers workers;

    AttentionGradKernels(Workers workers) {
        this.workers = workers;
    }

    void run(GradientOp.AccumulateAttentionGrad op) {
        AttentionSpec spec = op.spec();
        int sequences = Math.toIntExact(op.q().rows() / spec.length());
        workers.forEach(
                sequences * spec.kvHeads(),
                (tile, scratch) ->
                        new Head(op, scratch, tile % spec.kvHeads(), tile / spec.kvHeads()).run());
    }

    /// A matrix in an array: element `(i, k)` is `x[i * line + k]`, or `x[k * line + i]` where
    /// turned.
    private record View(float[] x, int line, boolean turned) {
        View transposed() {
            return new View(x, line, !turned);
        }

        /// Panels of `width` rows, one after another, `[k][width]` each, rows past the end zero.
        void pack(float[] panel, int width, int rows, int n) {
            for (int p = 0; p < rows; p += width) {
                int count = Math.min(width, rows - p);
                int base = p * n;
                for (int k = 0; k < n; k++) {
                    int at = base + k * width;
                    if (turned) {
                        System.arraycopy(x, k * line + p, panel, at, count);
                    } else {
                        for (int i = 0; i < count; i++) {
                            panel[at + i] = x[(p + i) * line + k];
                        }
                    }
                    Arrays.fill(panel, at + count, at + width, 0);
                }
            }
        }
    }

    private static final class Head {
        private final GradientOp.AccumulateAttentionGrad op;
        private final AttentionSpec spec;
        private final int kvHead;
        private final long row0;
        private final int dim;
        private final int line;
        private final int keys;
        private final View k;
        private final View v;
        private final View dk;
        private final View dv;
        private final View q;
        private final View dout;
        private final View out;
        private final View dq;
        private final View s;
        private final View dp;
        private final float[] a;
        private final float[] b;
        private final float[] sums;

        Head(GradientOp.AccumulateAttentionGrad op, Scratch scratch, int kvHead, int sequence) {
            this.op = op;
            this.spec = op.spec();
            this.kvHead = kvHead;
            this.row0 = (long) sequence * spec.length();
            this.dim = spec.headDim();
            this.line = Lanes.padded(dim);
            this.keys = spec.length();
            int wide = Lanes.padded(keys);
            k = new View(scratch.floats(0, keys * line), line, false);
            v = new View(scratch.floats(1, keys * line), line, false);
            dk = new View(scratch.floats(2, keys * line), line, false);
            dv = new View(scratch.floats(3, keys * line), line, false);
            q = new View(scratch.floats(4, QUERIES * line), line, false);
            dout = new View(scratch.floats(5, QUERIES * line), line, false);
            out = new View(scratch.floats(6, QUERIES * line), line, false);
            dq = new View(scratch.floats(7, QUERIES * line), line, false);
            s = new View(scratch.floats(8, QUERIES * wide), wide, false);
            dp = new View(scratch.floats(9, QUERIES * wide), wide, false);
            int longest = Math.max(keys, Math.max(QUERIES, dim)) + NR;
            int depth = Math.max(Math.max(dim, QUERIES), keys);
            a = scratch.floats(10, longest * depth);
            b = scratch.floats(11, longest * depth);
            sums = scratch.floats(12, MR * NR);
        }

        void run() {
            long narrow = (long) spec.kvHeads() * dim;
            read(k, op.k().bytes(), narrow, kvHead, 0, keys);
            read(v, op.v().bytes(), narrow, kvHead, 0, keys);
            Arrays.fill(dk.x, 0, keys * line, 0);
            Arrays.fill(dv.x, 0, keys * line, 0);
            int group = spec.heads() / spec.kvHeads();
            for (int head = kvHead * group; head < (kvHead + 1) * group; head++) {
                for (int t0 = 0; t0 < keys; t0 += QUERIES) {
                    queries(head, t0, Math.min(keys, t0 + QUERIES));
                }
            }
            add(op.dk().bytes(), narrow, kvHead, 0, keys, dk);
            add(op.dv().bytes(), narrow, kvHead, 0, keys, dv);
        }

        private void read(View to, MemorySegment from, long stride, int head, int first, int n) {
            for (int i = 0; i < n; i++) {
                long at = (row0 + first + i) * stride + (long) head * dim;
                Lanes.read(to.x, i * line, from, DType.F32, at, dim);
            }
        }

        private void add(MemorySegment to, long stride, int head, int first, int n, View x) {
            float[] row = new float[line];
            for (int i = 0; i < n; i++) {
                long at = (row0 + first + i) * stride + (long) head * dim;
                Lanes.read(row, 0, to, DType.F32, at, dim);
                for (int d = 0; d < dim; d++) {
                    row[d] += x.x[i * line + d];
                }
                Lanes.write(to, DType.F32, at, row, 0, dim);
            }
        }

        /// Queries `[t0, t1)` of a head, with keys `[s0, t1)`.
        private void queries(int head, int t0, int t1) {
            int n = t1 - t0;
            int s0 = spec.window() == 0 ? 0 : Math.max(0, t0 - spec.window() + 1);
            int m = t1 - s0;
            long wide = (long) spec.heads() * dim;
            read(q, op.q().bytes(), wide, head, t0, n);
            read(dout, op.dout().bytes(), wide, head, t0, n);
            read(out, op.out().bytes(), wide, head, t0, n);
            View keysHere = from(k, s0);
            View valuesHere = from(v, s0);
            multiply(s, 0, q, keysHere, n, m, dim, false);
            multiply(dp, 0, dout, valuesHere, n, m, dim, false);
            for (int i = 0; i < n; i++) {
                row(i, t0 + i, s0, m);
            }
            // s holds probabilities now, dp the gradient of the scaled products.
            multiply(dv, s0, s.transposed(), dout.transposed(), m, dim, n, true);
            multiply(dk, s0, dp.transposed(), q.transposed(), m, dim, n, true);
            multiply(dq, 0, dp, keysHere.transposed(), n, dim, m, false);
            add(op.dq().bytes(), wide, head, t0, n, dq);
        }

        private View from(View x, int first) {
            if (first == 0) {
                return x;
            }
            return new View(Arrays.copyOfRange(x.x, first * line, keys * line), line, false);
        }

        /// Scores of one query become probabilities, and their gradients those of the products.
        private void row(int i, int t, int s0, int m) {
            int base = i * s.line;
            int first = spec.window() == 0 ? 0 : Math.max(0, t - spec.window() + 1 - s0);
            int end = t - s0 + 1;
            float[] p = s.x;
            float[] d = dp.x;
            double out2 = 0;
            for (int c = 0; c < dim; c++) {
                out2 += (double) dout.x[i * line + c] * out.x[i * line + c];
            }
            float max = Float.NEGATIVE_INFINITY;
            for (int j = first; j < end; j++) {
                p[base + j] *= spec.scale();
            }
            float[] slopes = null;
            if (spec.softcap() > 0) {
                slopes = new float[end];
                ElementwiseKernels.softcap(p, base, Lanes.padded(end), spec.softcap());
                for (int j = first; j < end; j++) {
                    float tanh = p[base + j] / spec.softcap();
                    slopes[j] = 1 - tanh * tanh;
                }
            }
            for (int j = first; j < end; j++) {
                max = Math.max(max, p[base + j]);
            }
            exponentials(p, base, end, max);
            double sum = 0;
            for (int j = first; j < end; j++) {
                sum += p[base + j];
            }
            float inverse = (float) (1 / sum);
            for (int j = 0; j < m; j++) {
                boolean seen = j >= first && j < end;
                float probability = seen ? p[base + j] * inverse : 0;
                float g = seen ? probability * (d[base + j] - (float) out2) * spec.scale() : 0;
                p[base + j] = probability;
                d[base + j] = slopes == null || !seen ? g : g * slopes[j];
            }
        }

        private static void exponentials(float[] p, int base, int n, float max) {
            int j = 0;
            for (; j <= n - N; j += N) {
                Exp.exp(FloatVector.fromArray(F, p, base + j).sub(max)).intoArray(p, base + j);
            }
            if (j < n) {
                float[] rest = new float[N];
                System.arraycopy(p, base + j, rest, 0, n - j);
                Exp.exp(FloatVector.fromArray(F, rest, 0).sub(max)).intoArray(rest, 0);
                System.arraycopy(rest, 0, p, base + j, n - j);
            }
        }

        /// `c[row0 + i, j] = sum_k x[i,k] y[j,k]`, or added to it.
        private void multiply(
                View c, int first, View x, View y, int m, int n, int depth, boolean accumulate) {
            x.pack(a, MR, m, depth);
            y.pack(b, NR, n, depth);
            for (int j = 0; j < n; j += NR) {
                for (int i = 0; i < m; i += MR) {
                    PortableGemm.kernel(sums, 0, a, i * depth, b, j * depth, depth);
                    int rows = Math.min(MR, m - i);
                    int columns = Math.min(NR, n - j);
                    for (int r = 0; r < rows; r++) {
                        int to = (first + i + r) * c.line + j;
                        if (accumulate) {
                            for (int l = 0; l < columns; l++) {
                                c.x[to + l] += sums[r * NR + l];
                            }
                        } else {
                            System.arraycopy(sums, r * NR, c.x, to, columns);
                        }
                    }
                }
            }
        }
    }
}
