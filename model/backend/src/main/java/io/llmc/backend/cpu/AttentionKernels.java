// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.N;
import static io.llmc.backend.cpu.PortableGemm.MR;
import static io.llmc.backend.cpu.PortableGemm.NR;

import io.llmc.backend.ForwardOp.AttentionSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// Attention with a streaming softmax (Milakov and Gimelshein, 2018; Dao et al., 2022).
///
/// A tile is some positions of a sequence with all query heads that share one key head: keys and
/// values are packed once for them. Everything is kept transposed, with the queries along the
/// lanes: scores `S^T = K Q^T` come out of the product's kernel as the panel that `O^T = V^T P^T`
/// reads, and the softmax's maxima and sums run down columns, so that a query has the same bits in
/// every lane of every vector width.
final class AttentionKernels {
    /// Queries of a tile.
    private static final int QUERIES = 64;

    /// Keys between two corrections of the running maximum, counted from the sequence's first.
    private static final int KEYS = 96;

    /// Below any score: the maximum before the first key. Finite, so that differences are.
    private static final float LOWEST = -1e30f;

    private final Workers workers;

    AttentionKernels(Workers workers) {
        this.workers = workers;
    }

    void attention(Tensor out, Tensor q, Tensor k, Tensor v, AttentionSpec spec) {
        int group = spec.heads() / spec.kvHeads();
        int positions = Math.max(1, QUERIES / group);
        int perSequence = Math.ceilDiv(spec.length(), positions);
        int sequences = Math.toIntExact(q.rows() / spec.length());
        var operands = new Operands(out.bytes(), q.bytes(), k.bytes(), v.bytes());
        int perHead = perSequence * sequences;
        workers.forEach(
                perHead * spec.kvHeads(),
                (tile, scratch) -> {
                    int head = tile / perHead;
                    int sequence = tile % perHead / perSequence;
                    // The last positions see the most keys: they go first.
                    int t0 = (perSequence - 1 - tile % perSequence) * positions;
                    int t1 = Math.min(spec.length(), t0 + positions);
                    new Tile(operands, spec, scratch, head, (long) sequence * spec.length(), t0, t1)
                            .run();
                });
    }

    private record Operands(MemorySegment out, MemorySegment q, MemorySegment k, MemorySegment v) {}

    /// Query `i` of a tile is position `t0 + i / group`, head `kvHead * group + i % group`.
    private static final class Tile {
        private final Operands x;
        private final AttentionSpec spec;
        private final Scratch scratch;
        private final int kvHead;
        private final long row0;
        private final int t0;
        private final int t1;
        private final int group;
        private final int dim;
        private final int dims;
        private final int queries;
        private final int panels;

        /// `[panel][dim][NR]`
        private final float[] q;

        /// `[panel][key][NR]`: scores, then their exponentials
        private final float[] s;

        /// `[panel][dim][NR]`
        private final float[] o;

        /// Running maxima, then sums, then corrections; `[panel][NR]` each.
        private final float[] m;

        /// Positions of the queries.
        private final float[] at;

        private final float[] panel;
        private final float[] sums;

        Tile(
                Operands x,
                AttentionSpec spec,
                Scratch scratch,
                int kvHead,
                long row0,
                int t0,
                int t1) {
            this.x = x;
            this.spec = spec;
            this.scratch = scratch;
            this.kvHead = kvHead;
            this.row0 = row0;
            this.t0 = t0;
            this.t1 = t1;
            group = spec.heads() / spec.kvHeads();
            dim = spec.headDim();
            dims = Math.ceilDiv(dim, MR) * MR;
            queries = (t1 - t0) * group;
            panels = Math.ceilDiv(queries, NR);
            q = scratch.floats(1, panels * dim * NR);
            s = scratch.floats(2, panels * KEYS * NR);
            o = scratch.floats(3, panels * dims * NR);
            m = scratch.floats(4, 4 * panels * NR);
            at = scratch.floats(5, panels * NR);
            panel = scratch.floats(6, Math.max(KEYS * dim, dims * KEYS));
            sums = scratch.floats(7, MR * NR);
        }

        void run() {
            packQueries();
            java.util.Arrays.fill(o, 0, panels * dims * NR, 0);
            java.util.Arrays.fill(m, 0, panels * NR, LOWEST);
            java.util.Arrays.fill(m, panels * NR, 2 * panels * NR, 0);
            int first = spec.window() == 0 ? 0 : Math.max(0, t0 - spec.window() + 1);
            for (int s0 = first / KEYS * KEYS; s0 < t1; s0 += KEYS) {
                int keys = Math.min(KEYS, t1 - s0);
                scores(s0, keys);
                if (spec.softcap() > 0) {
                    for (int p = 0; p < panels; p++) {
                        ElementwiseKernels.softcap(s, p * KEYS * NR, keys * NR, spec.softcap());
                    }
                }
                if (s0 + keys - 1 > t0 || spec.window() > 0 && s0 <= t1 - 1 - spec.window()) {
                    mask(s0, keys);
                }
                softmax(keys);
                values(s0, keys);
            }
            write();
        }

        private void packQueries() {
            float[] rows = scratch.floats(0, NR * Lanes.padded(dim));
            int line = Lanes.padded(dim);
            long stride = (long) spec.heads() * dim;
            for (int p = 0; p < panels; p++) {
                int count = Math.min(NR, queries - p * NR);
                for (int i = 0; i < count; i++) {
                    int query = p * NR + i;
                    int head = kvHead * group + query % group;
                    at[query] = t0 + query / group;
                    long from = (row0 + t0 + query / group) * stride + (long) head * dim;
                    Lanes.read(rows, i * line, x.q, DType.F32, from, dim);
                }
                Panels.transpose(q, p * dim * NR, NR, rows, line, count, dim);
            }
            float scale = spec.scale();
            for (int i = 0; i < panels * dim * NR; i += N) {
                FloatVector.fromArray(F, q, i).mul(scale).intoArray(q, i);
            }
            for (int i = queries; i < panels * NR; i++) {
                at[i] = t0;
            }
        }

        /// `s[key][query] = scale * k . q`
        private void scores(int s0, int keys) {
            long stride = (long) spec.kvHeads() * dim;
            var rows =
                    new Operand.Rows(x.k, DType.F32, row0 * stride + (long) kvHead * dim, stride);
            rows.pack(panel, 0, MR, s0, keys, 0, dim, scratch);
            for (int p = 0; p < panels; p++) {
                for (int j = 0; j < keys; j += MR) {
                    PortableGemm.kernel(
                            s, (p * KEYS + j) * NR, panel, j * dim, q, p * dim * NR, dim);
                }
            }
        }

        private void mask(int s0, int keys) {
            float window = spec.window() == 0 ? Float.POSITIVE_INFINITY : spec.window();
            for (int p = 0; p < panels; p++) {
                for (int l = 0; l < NR; l += N) {
                    FloatVector t = FloatVector.fromArray(F, at, p * NR + l);
                    FloatVector oldest = t.sub(window);
                    for (int j = 0; j < keys; j++) {
                        float position = s0 + j;
                        VectorMask<Float> hidden =
                                t.compare(VectorOperators.LT, position)
                                        .or(oldest.compare(VectorOperators.GE, position));
                        int i = (p * KEYS + j) * NR + l;
                        FloatVector.fromArray(F, s, i)
                                .blend(Float.NEGATIVE_INFINITY, hidden)
                                .intoArray(s, i);
                    }
                }
            }
        }

        /// `s = exp(s - max)`; the maximum, the sum, and the factor that earlier sums need.
        private void softmax(int keys) {
            int all = panels * NR;
            for (int p = 0; p < panels; p++) {
                for (int l = 0; l < NR; l += N) {
                    int column = p * NR + l;
                    int base = p * KEYS * NR + l;
                    FloatVector old = FloatVector.fromArray(F, m, column);
                    FloatVector max = old;
                    for (int j = 0; j < keys; j++) {
                        FloatVector v = FloatVector.fromArray(F, s, base + j * NR);
                        max = max.blend(v, max.compare(VectorOperators.LT, v));
                    }
                    FloatVector sum = FloatVector.zero(F);
                    for (int j = 0; j < keys; j++) {
                        int i = base + j * NR;
                        FloatVector e = Exp.exp(FloatVector.fromArray(F, s, i).sub(max));
                        e.intoArray(s, i);
                        sum = sum.add(e);
                    }
                    FloatVector correction = Exp.exp(old.sub(max));
                    max.intoArray(m, column);
                    FloatVector.fromArray(F, m, all + column)
                            .fma(correction, sum)
                            .intoArray(m, all + column);
                    correction.intoArray(m, 2 * all + column);
                }
            }
        }

        /// `o[dim][query] = o * correction + sum_key v[key][dim] * s[key][query]`
        private void values(int s0, int keys) {
            long stride = (long) spec.kvHeads() * dim;
            long from = (row0 + s0) * stride + (long) kvHead * dim;
            int all = panels * NR;
            Panels.copy(panel, 0, MR, keys * MR, x.v, from, stride, dim, keys);
            for (int p = 0; p < panels; p++) {
                for (int d = 0; d < dim; d += MR) {
                    PortableGemm.kernel(sums, 0, panel, d * keys, s, p * KEYS * NR, keys);
                    for (int i = 0; i < MR; i++) {
                        for (int l = 0; l < NR; l += N) {
                            int to = (p * dims + d + i) * NR + l;
                            FloatVector.fromArray(F, o, to)
                                    .fma(
                                            FloatVector.fromArray(F, m, 2 * all + p * NR + l),
                                            FloatVector.fromArray(F, sums, i * NR + l))
                                    .intoArray(o, to);
                        }
                    }
                }
            }
        }

        private void write() {
            long stride = (long) spec.heads() * dim;
            int all = panels * NR;
            for (int query = 0; query < queries; query++) {
                int head = kvHead * group + query % group;
                long to = (row0 + t0 + query / group) * stride + (long) head * dim;
                int column = query / NR * dims * NR + query % NR;
                float sum = m[all + query];
                for (int d = 0; d < dim; d++) {
                    x.out.set(F32, 4 * (to + d), o[column + d * NR] / sum);
                }
            }
        }
    }
}
