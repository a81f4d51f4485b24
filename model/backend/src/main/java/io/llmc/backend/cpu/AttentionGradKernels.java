// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
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
        AttentionSpec.Heads heads = op.forward().spec().heads();
        int sequences =
                Math.toIntExact(op.forward().q().rows() / op.forward().spec().reach().length());
        // Of each sequence's heads; several workers meet in a head.
        double[] sinks = new double[sequences * heads.count()];
        workers.forEach(
                sequences * heads.kv(),
                (tile, scratch) ->
                        new Head(op, scratch, tile % heads.kv(), tile / heads.kv(), sinks).run());
        if (op.dsinks() != null) {
            addSinks(op.dsinks(), sinks);
        }
    }

    /// Adds the sums of the sequences, in their order.
    private static void addSinks(Tensor dsinks, double[] sums) {
        float[] all = AttentionKernels.perHead(dsinks);
        for (int h = 0; h < all.length; h++) {
            double sum = 0;
            for (int i = h; i < sums.length; i += all.length) {
                sum += sums[i];
            }
            all[h] += (float) sum;
        }
        Lanes.write(dsinks.bytes(), DType.F32, 0, all, 0, all.length);
    }

    /// A matrix in an array: element `(i, k)` is `x[i * line + k]`, or `x[k * line + i]` where
    /// turned. Products take any of the matrices either way round; only how it is packed differs.
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

    /// All queries of a KV head, and what they add to its keys and values.
    private static final class Head {
        private final GradientOp.AccumulateAttentionGrad op;
        private final ForwardOp.Attention forward;
        private final AttentionSpec spec;
        private final AttentionSpec.Heads heads;
        private final AttentionSpec.Reach reach;
        private final int kvHead;
        private final int sequence;
        private final int dim;
        private final int valueDim;
        private final float[] sinks;
        private final float[] slopes;
        private final double[] sinkSums;

        /// `[keys, dim]` and `[keys, valueDim]`, the head's own, F32.
        private final View k;

        private final View v;
        private final View dk;
        private final View dv;

        /// Of the tile: `[queries, dim]` or `[queries, valueDim]`.
        private final View q;

        private final View dout;
        private final View out;
        private final View dq;

        /// Of the tile, `[queries, keys seen]`: scores, then probabilities; their gradients.
        private final View s;

        private final View dp;

        /// A product's two sides in panels, and one piece of the result.
        private final float[] a;

        private final float[] b;
        private final float[] sums;

        Head(
                GradientOp.AccumulateAttentionGrad op,
                Scratch scratch,
                int kvHead,
                int sequence,
                double[] sinkSums) {
            this.op = op;
            this.forward = op.forward();
            this.spec = forward.spec();
            this.heads = spec.heads();
            this.reach = spec.reach();
            this.kvHead = kvHead;
            this.sequence = sequence;
            this.dim = heads.dim();
            this.valueDim = heads.valueDim();
            this.sinks = AttentionKernels.perHead(forward.sinks());
            this.slopes = AttentionKernels.perHead(forward.slopes());
            this.sinkSums = sinkSums;
            int keys = reach.keys();
            k = view(scratch, 0, keys, dim);
            v = view(scratch, 1, keys, valueDim);
            dk = view(scratch, 2, keys, dim);
            dv = view(scratch, 3, keys, valueDim);
            q = view(scratch, 4, QUERIES, dim);
            dout = view(scratch, 5, QUERIES, valueDim);
            out = view(scratch, 6, QUERIES, valueDim);
            dq = view(scratch, 7, QUERIES, dim);
            s = view(scratch, 8, QUERIES, keys);
            dp = view(scratch, 9, QUERIES, keys);
            // Any of the products' sides may be the longest, and any the depth.
            int most = Math.max(Math.max(keys, QUERIES), Math.max(dim, valueDim));
            a = scratch.floats(10, (most + NR) * most);
            b = scratch.floats(11, (most + NR) * most);
            sums = scratch.floats(12, MR * NR);
        }

        private static View view(Scratch scratch, int slot, int rows, int columns) {
            int line = Lanes.padded(columns);
            return new View(scratch.floats(slot, rows * line), line, false);
        }

        void run() {
            int keys = reach.keys();
            long key0 = (long) sequence * keys;
            read(k, forward.k(), heads.kv(), kvHead, key0, keys);
            read(v, forward.v(), heads.kv(), kvHead, key0, keys);
            // Summed here and added to the tensors once: a key has all of its group's queries.
            Arrays.fill(dk.x, 0, keys * dk.line, 0);
            Arrays.fill(dv.x, 0, keys * dv.line, 0);
            int group = heads.group();
            for (int head = kvHead * group; head < (kvHead + 1) * group; head++) {
                for (int t0 = 0; t0 < reach.length(); t0 += QUERIES) {
                    queries(head, t0, Math.min(reach.length(), t0 + QUERIES));
                }
            }
            add(op.dk(), heads.kv(), kvHead, key0, keys, dk);
            add(op.dv(), heads.kv(), kvHead, key0, keys, dv);
        }

        /// Rows `[first, first + n)` of one of a tensor's heads.
        private static void read(View to, Tensor from, int heads, int head, long first, int n) {
            int columns = Math.toIntExact(from.cols() / heads);
            MemorySegment bytes = from.bytes();
            for (int i = 0; i < n; i++) {
                long at = (first + i) * from.cols() + (long) head * columns;
                Lanes.read(to.x, i * to.line, bytes, DType.F32, at, columns);
            }
        }

        private static void add(Tensor to, int heads, int head, long first, int n, View x) {
            int columns = Math.toIntExact(to.cols() / heads);
            MemorySegment bytes = to.bytes();
            float[] row = new float[x.line];
            for (int i = 0; i < n; i++) {
                long at = (first + i) * to.cols() + (long) head * columns;
                Lanes.read(row, 0, bytes, DType.F32, at, columns);
                for (int d = 0; d < columns; d++) {
                    row[d] += x.x[i * x.line + d];
                }
                Lanes.write(bytes, DType.F32, at, row, 0, columns);
            }
        }

        /// Queries `[t0, t1)` of a head, with the keys that any of them sees.
        private void queries(int head, int t0, int t1) {
            int n = t1 - t0;
            int s0 = reach.first(t0);
            int m = reach.position(t1 - 1) + 1 - s0;
            long row0 = (long) sequence * reach.length() + t0;
            read(q, forward.q(), heads.count(), head, row0, n);
            read(dout, op.dout(), heads.count(), head, row0, n);
            read(out, forward.out(), heads.count(), head, row0, n);
            // s = q k^T and dp = dout v^T, before scale, cap and softmax.
            View keysHere = from(k, s0);
            View valuesHere = from(v, s0);
            multiply(s, 0, q, keysHere, n, m, dim, false);
            multiply(dp, 0, dout, valuesHere, n, m, valueDim, false);
            // Row by row from scores to the gradients of the products, in place.
            for (int i = 0; i < n; i++) {
                row(head, i, t0 + i, s0, m);
            }
            // s holds probabilities now, dp the gradient of the scaled products.
            multiply(dv, s0, s.transposed(), dout.transposed(), m, valueDim, n, true);
            multiply(dk, s0, dp.transposed(), q.transposed(), m, dim, n, true);
            multiply(dq, 0, dp, keysHere.transposed(), n, dim, m, false);
            add(op.dq(), heads.count(), head, row0, n, dq);
        }

        private View from(View x, int first) {
            if (first == 0) {
                return x;
            }
            // A copy: packing starts at an array's first row.
            float[] rest = Arrays.copyOfRange(x.x, first * x.line, reach.keys() * x.line);
            return new View(rest, x.line, false);
        }

        /// Scores of one query become probabilities, and their gradients those of the products: `ds
        /// = p (dp - dout . out)`, since that dot product is the mean of dp.
        private void row(int head, int i, int t, int s0, int m) {
            int base = i * s.line;
            int first = reach.first(t) - s0;
            int end = reach.position(t) - s0 + 1;
            float[] p = s.x;
            float[] d = dp.x;
            // In F64: it is subtracted from numbers of its own size.
            double mean = 0;
            for (int c = 0; c < valueDim; c++) {
                mean += (double) dout.x[i * dout.line + c] * out.x[i * out.line + c];
            }
            for (int j = first; j < end; j++) {
                p[base + j] *= spec.scale();
            }
            // Of the cap by the scaled product: 1 - tanh^2.
            float[] ofCap = null;
            if (spec.softcap() > 0) {
                ofCap = new float[end];
                ElementwiseKernels.softcap(p, base, Lanes.padded(end), spec.softcap());
                for (int j = first; j < end; j++) {
                    float tanh = p[base + j] / spec.softcap();
                    ofCap[j] = 1 - tanh * tanh;
                }
            }
            for (int j = first; slopes != null && j < end; j++) {
                p[base + j] += slopes[head] * (j + 1 - end);
            }
            // A sink stands in the softmax as a key's score would, so also in its maximum.
            float max = sinks == null ? Float.NEGATIVE_INFINITY : sinks[head];
            for (int j = first; j < end; j++) {
                max = Math.max(max, p[base + j]);
            }
            exponentials(p, base, end, max);
            // F64, since there may be thousands of terms.
            double sum = sinks == null ? 0 : Math.exp((double) sinks[head] - max);
            double sink = sum;
            for (int j = first; j < end; j++) {
                sum += p[base + j];
            }
            sinkSums[sequence * heads.count() + head] -= sink / sum * mean;
            float inverse = (float) (1 / sum);
            // Keys that this query does not see, but others of the tile do, get exact zeros.
            for (int j = 0; j < m; j++) {
                boolean seen = j >= first && j < end;
                float probability = seen ? p[base + j] * inverse : 0;
                float g = seen ? probability * (d[base + j] - (float) mean) * spec.scale() : 0;
                p[base + j] = probability;
                d[base + j] = ofCap == null || !seen ? g : g * ofCap[j];
            }
        }

        private static void exponentials(float[] p, int base, int n, float max) {
            // Whole vectors, then the rest through one: a score's bits do not depend on where it
            // stands.
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
            // Both sides in panels, as the portable product's kernel reads them.
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
