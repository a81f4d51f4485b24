// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.N;
import static io.llmc.backend.cpu.PortableGemm.MR;
import static io.llmc.backend.cpu.PortableGemm.NR;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CacheOp;
import io.llmc.backend.ForwardOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;

/// Attention with a streaming softmax (Milakov and Gimelshein, 2018; Dao et al., 2022).
///
/// A tile is some positions of a sequence with all query heads that share one key head: keys and
/// values are packed once for them. Everything is kept transposed, with the queries along the
/// lanes: scores `S^T = K Q^T` come out of the product's kernel as the panel that `O^T = V^T P^T`
/// reads, and the softmax's maxima and sums run down columns, so that a query has the same bits in
/// every lane of every vector width. It has them in every tile, too: keys that it does not see add
/// exact zeros, so that a decoder's single query gives what it gave among all others.
final class AttentionKernels {
    /// Queries of a tile.
    private static final int QUERIES = 64;

    /// Keys between two corrections of the running maximum, counted from the sequence's first.
    static final int KEYS = CacheOp.KEYS;

    /// Below any score: the maximum before the first key. Finite, so that differences are.
    static final float LOWEST = -1e30f;

    private final Workers workers;

    AttentionKernels(Workers workers) {
        this.workers = workers;
    }

    void attention(ForwardOp.Attention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        int length = op.spec().reach().length();
        // Heads of a group ask the same keys, so they go together.
        int positions = Math.max(1, QUERIES / heads.group());
        int perSequence = Math.ceilDiv(length, positions);
        int perHead = perSequence * Math.toIntExact(op.q().rows() / length);
        var operands = new Operands(op);
        workers.forEach(
                perHead * heads.kv(),
                (tile, scratch) -> {
                    int head = tile / perHead;
                    int sequence = tile % perHead / perSequence;
                    // The last positions see the most keys: they go first.
                    int t0 = (perSequence - 1 - tile % perSequence) * positions;
                    int t1 = Math.min(length, t0 + positions);
                    new Tile(operands, op.spec(), scratch, head, sequence, t0, t1).run();
                });
    }

    /// @param sinks and slopes null for none Taken from the tensors once, and not for every tile.
    private record Operands(
            MemorySegment out,
            MemorySegment q,
            MemorySegment k,
            MemorySegment v,
            float[] sinks,
            float[] slopes) {
        Operands(ForwardOp.Attention op) {
            this(
                    op.out().bytes(),
                    op.q().bytes(),
                    op.k().bytes(),
                    op.v().bytes(),
                    perHead(op.sinks()),
                    perHead(op.slopes()));
        }
    }

    /// The numbers of all heads, or null for none.
    static float[] perHead(Tensor x) {
        if (x == null) {
            return null;
        }
        float[] values = new float[Math.toIntExact(x.shape().size())];
        Lanes.read(values, 0, x.bytes(), DType.F32, 0, values.length);
        return values;
    }

    /// Query `i` of a tile is the sequence's query `t0 + i / group`, head `kvHead * group + i %
    /// group`.
    private static final class Tile {
        private final Operands x;
        private final AttentionSpec spec;
        private final AttentionSpec.Heads heads;
        private final AttentionSpec.Reach reach;
        private final Scratch scratch;
        private final int kvHead;
        private final int sequence;
        private final int t0;
        private final int t1;
        private final int dim;
        private final int valueDim;

        /// `valueDim` up to whole panels.
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

        /// Positions of the queries, then the first keys that they see, then their heads' slopes;
        /// `[panel][NR]` each.
        private final float[] at;

        private final float[] panel;
        private final float[] sums;

        Tile(
                Operands x,
                AttentionSpec spec,
                Scratch scratch,
                int kvHead,
                int sequence,
                int t0,
                int t1) {
            this.x = x;
            this.spec = spec;
            this.heads = spec.heads();
            this.reach = spec.reach();
            this.scratch = scratch;
            this.kvHead = kvHead;
            this.sequence = sequence;
            this.t0 = t0;
            this.t1 = t1;
            dim = heads.dim();
            valueDim = heads.valueDim();
            dims = Math.ceilDiv(valueDim, MR) * MR;
            queries = (t1 - t0) * heads.group();
            panels = Math.ceilDiv(queries, NR);
            q = scratch.floats(1, panels * dim * NR);
            s = scratch.floats(2, panels * KEYS * NR);
            o = scratch.floats(3, panels * dims * NR);
            m = scratch.floats(4, 3 * panels * NR);
            at = scratch.floats(5, 3 * panels * NR);
            panel = scratch.floats(6, Math.max(KEYS * dim, dims * KEYS));
            sums = scratch.floats(7, MR * NR);
        }

        void run() {
            packQueries();
            begin();
            int end = reach.position(t1 - 1) + 1;
            // Blocks of keys are those of the sequence, whoever asks.
            for (int s0 = reach.first(t0) / KEYS * KEYS; s0 < end; s0 += KEYS) {
                // Past `end` nobody of the tile sees anything.
                int keys = Math.min(KEYS, end - s0);
                scores(s0, keys);
                if (spec.softcap() > 0) {
                    for (int p = 0; p < panels; p++) {
                        ElementwiseKernels.softcap(s, p * KEYS * NR, keys * NR, spec.softcap());
                    }
                }
                if (x.slopes != null) {
                    slant(s0, keys);
                }
                // The first query sees the fewest late keys, the last one the fewest early ones.
                if (s0 + keys - 1 > reach.position(t0) || s0 < reach.first(t1 - 1)) {
                    mask(s0, keys);
                }
                softmax(keys);
                values(s0, keys);
            }
            write();
        }

        private int head(int query) {
            return kvHead * heads.group() + query % heads.group();
        }

        /// Row of a query in `q` and `out`.
        private long row(int query) {
            return (long) sequence * reach.length() + t0 + query / heads.group();
        }

        /// Nothing seen yet; a sink is a key that was, and has zeros for values.
        private void begin() {
            int all = panels * NR;
            Arrays.fill(o, 0, panels * dims * NR, 0);
            Arrays.fill(m, 0, all, LOWEST);
            Arrays.fill(m, all, 2 * all, 0);
            for (int query = 0; x.sinks != null && query < queries; query++) {
                m[query] = x.sinks[head(query)];
                m[all + query] = 1;
            }
        }

        private void packQueries() {
            int line = Lanes.padded(dim);
            int all = panels * NR;
            float[] rows = scratch.floats(0, NR * line);
            // Columns past the last query are zeros that stand where the first does.
            Arrays.fill(at, 0, all, reach.position(t0));
            Arrays.fill(at, all, 2 * all, reach.first(t0));
            Arrays.fill(at, 2 * all, 3 * all, 0);
            for (int p = 0; p < panels; p++) {
                int count = Math.min(NR, queries - p * NR);
                for (int i = 0; i < count; i++) {
                    int query = p * NR + i;
                    int t = t0 + query / heads.group();
                    at[query] = reach.position(t);
                    at[all + query] = reach.first(t);
                    at[2 * all + query] = x.slopes == null ? 0 : x.slopes[head(query)];
                    long from = row(query) * heads.queryWidth() + (long) head(query) * dim;
                    Lanes.read(rows, i * line, x.q, DType.F32, from, dim);
                }
                Panels.transpose(q, p * dim * NR, NR, rows, line, count, dim);
            }
            // Scaled here, once a query and not once a score.
            float scale = spec.scale();
            for (int i = 0; i < panels * dim * NR; i += N) {
                FloatVector.fromArray(F, q, i).mul(scale).intoArray(q, i);
            }
        }

        /// Row of the sequence's first key.
        private long firstKey() {
            return (long) sequence * reach.keys();
        }

        /// `s[key][query] = scale * k . q`
        private void scores(int s0, int keys) {
            long stride = heads.keyWidth();
            var rows =
                    new Operand.Rows(
                            x.k, DType.F32, firstKey() * stride + (long) kvHead * dim, stride);
            rows.pack(panel, 0, MR, s0, keys, 0, dim, scratch);
            for (int p = 0; p < panels; p++) {
                for (int j = 0; j < keys; j += MR) {
                    PortableGemm.kernel(
                            s, (p * KEYS + j) * NR, panel, j * dim, q, p * dim * NR, dim);
                }
            }
        }

        /// `s += slope * (key - position)`: distances are exact, however long the sequence.
        private void slant(int s0, int keys) {
            int all = panels * NR;
            for (int p = 0; p < panels; p++) {
                for (int l = 0; l < NR; l += N) {
                    // Whole numbers up to 2^24 are exact as floats.
                    FloatVector t = FloatVector.fromArray(F, at, p * NR + l);
                    FloatVector slope = FloatVector.fromArray(F, at, 2 * all + p * NR + l);
                    for (int j = 0; j < keys; j++) {
                        int i = (p * KEYS + j) * NR + l;
                        FloatVector distance = FloatVector.broadcast(F, s0 + j).sub(t);
                        distance.fma(slope, FloatVector.fromArray(F, s, i)).intoArray(s, i);
                    }
                }
            }
        }

        private void mask(int s0, int keys) {
            int all = panels * NR;
            for (int p = 0; p < panels; p++) {
                for (int l = 0; l < NR; l += N) {
                    FloatVector last = FloatVector.fromArray(F, at, p * NR + l);
                    FloatVector first = FloatVector.fromArray(F, at, all + p * NR + l);
                    for (int j = 0; j < keys; j++) {
                        float key = s0 + j;
                        // Minus infinity, whose exponential is exactly 0.
                        VectorMask<Float> hidden =
                                last.compare(VectorOperators.LT, key)
                                        .or(first.compare(VectorOperators.GT, key));
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
                    // A column is a query: lanes never meet.
                    FloatVector old = FloatVector.fromArray(F, m, column);
                    FloatVector max = old;
                    for (int j = 0; j < keys; j++) {
                        FloatVector v = FloatVector.fromArray(F, s, base + j * NR);
                        max = max.blend(v, max.compare(VectorOperators.LT, v));
                    }
                    // These keys' own sum first; that of earlier keys is corrected and added.
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
            long stride = heads.valueWidth();
            long from = (firstKey() + s0) * stride + (long) kvHead * valueDim;
            int all = panels * NR;
            // Values are the left factor as they lie: `V^T` has their columns as rows.
            Panels.copy(panel, 0, MR, keys * MR, x.v, from, stride, valueDim, keys);
            for (int p = 0; p < panels; p++) {
                for (int d = 0; d < valueDim; d += MR) {
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
            int all = panels * NR;
            for (int query = 0; query < queries; query++) {
                long to = row(query) * heads.outWidth() + (long) head(query) * valueDim;
                // The division by the sum, left until all keys are in it.
                int column = query / NR * dims * NR + query % NR;
                float sum = m[all + query];
                for (int d = 0; d < valueDim; d++) {
                    x.out.set(F32, 4 * (to + d), o[column + d * NR] / sum);
                }
            }
        }
    }
}
