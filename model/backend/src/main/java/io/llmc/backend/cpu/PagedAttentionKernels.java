// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.AttentionKernels.KEYS;
import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;
import static io.llmc.backend.cpu.PortableGemm.MR;
import static io.llmc.backend.cpu.PortableGemm.NR;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CacheOp;
import io.llmc.backend.ForwardOp;
import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import jdk.incubator.vector.FloatVector;

/// Attention over pages. The few queries of a step of decoding read each page once, in the order
/// and with the arithmetic of [AttentionKernels], so that they have the bits that they have among
/// all others; the many of a prompt have the pages put together and go through that.
final class PagedAttentionKernels {
    /// Rows of queries, heads of a group apart, up to which pages are read as they lie.
    private static final int FEW = 64;

    private final Workers workers;
    private final PageKernels pages;
    private final AttentionKernels whole;

    PagedAttentionKernels(Workers workers, PageKernels pages, AttentionKernels whole) {
        this.workers = workers;
        this.pages = pages;
        this.whole = whole;
    }

    void run(CacheOp.PagedAttention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        List<CacheOp.Run> few =
                op.runs().stream().filter(r -> r.reach().length() * heads.group() <= FEW).toList();
        var operands = new Operands(op);
        workers.forEach(
                few.size() * heads.kv(),
                (tile, scratch) ->
                        new Tile(operands, few.get(tile / heads.kv()), tile % heads.kv(), scratch)
                                .run());
        for (CacheOp.Run run : op.runs()) {
            if (run.reach().length() * heads.group() > FEW) {
                many(op, run);
            }
        }
    }

    private void many(CacheOp.PagedAttention op, CacheOp.Run run) {
        AttentionSpec.Reach reach = run.reach();
        AttentionSpec.Heads heads = op.spec().heads();
        // Chunks and blocks of keys stay where they are, counted from the sequence's first.
        int start =
                reach.chunk() == 0
                        ? reach.first(0) / KEYS * KEYS
                        : reach.position(0) / reach.chunk() * reach.chunk();
        int keys = reach.keys() - start;
        Scratch scratch = workers.borrow();
        try {
            MemorySegment k = scratch.bytes(0, 4L * keys * heads.keyWidth());
            MemorySegment v = scratch.bytes(1, 4L * keys * heads.valueWidth());
            pages.gather(k, op.keys(), run, start, heads.kv());
            pages.gather(v, op.values(), run, start, heads.kv());
            int end = run.row() + reach.length();
            whole.attention(
                    new ForwardOp.Attention(
                            op.out().rows(run.row(), end),
                            op.q().rows(run.row(), end),
                            PageKernels.matrix(k, keys, heads.keyWidth()),
                            PageKernels.matrix(v, keys, heads.valueWidth()),
                            op.sinks(),
                            op.slopes(),
                            op.spec()
                                    .with(
                                            new AttentionSpec.Reach(
                                                    reach.length(),
                                                    keys,
                                                    reach.window(),
                                                    reach.chunk()))));
        } finally {
            workers.giveBack(scratch);
        }
    }

    /// Taken from the tensors once, and not for every tile.
    private record Operands(
            AttentionSpec spec,
            MemorySegment out,
            MemorySegment q,
            PageKernels.View keys,
            PageKernels.View values,
            float[] sinks,
            float[] slopes) {
        Operands(CacheOp.PagedAttention op) {
            this(
                    op.spec(),
                    op.out().bytes(),
                    op.q().bytes(),
                    new PageKernels.View(op.keys()),
                    new PageKernels.View(op.values()),
                    AttentionKernels.perHead(op.sinks()),
                    AttentionKernels.perHead(op.slopes()));
        }
    }

    /// All queries of a run whose heads share a key head. Query `i` is query `i / group` of the
    /// run, head `kvHead * group + i % group`.
    private static final class Tile {
        private final Operands x;
        private final CacheOp.Run run;
        private final MemorySegment table;
        private final AttentionSpec.Heads heads;
        private final AttentionSpec.Reach reach;
        private final Scratch scratch;
        private final int kvHead;
        private final int tokens;
        private final int dim;
        private final int valueDim;
        private final int queries;
        private final int panels;

        /// `valueDim` in whole panels.
        private final int dims;

        /// `[panel][dim][MR]`
        private final float[] q;

        /// `[query][KEYS]`: scores, then their exponentials.
        private final float[] s;

        /// `[query][dims]`
        private final float[] o;

        /// Running maxima, then sums; `[query]` each.
        private final float[] max;

        private final float[] sum;

        /// What a block's maximum does to the sums before it.
        private final float[] corrections;

        /// A page as it lies.
        private final float[] page;

        /// Keys of a page as `[panel of tokens][dim][NR]`, values of a block as `[panel of
        /// channels][KEYS][NR]`.
        private final float[] panel;

        /// `[key][MR]`
        private final float[] probabilities;

        private final float[] sums;

        Tile(Operands x, CacheOp.Run run, int kvHead, Scratch scratch) {
            this.x = x;
            this.run = run;
            this.table = run.table().bytes();
            this.heads = x.spec.heads();
            this.reach = run.reach();
            this.scratch = scratch;
            this.kvHead = kvHead;
            tokens = x.keys.tokens;
            dim = heads.dim();
            valueDim = heads.valueDim();
            queries = reach.length() * heads.group();
            panels = Math.ceilDiv(queries, MR);
            dims = Math.ceilDiv(valueDim, NR) * NR;
            q = scratch.floats(1, panels * MR * dim);
            s = scratch.floats(2, panels * MR * KEYS);
            o = scratch.floats(3, panels * MR * dims);
            max = scratch.floats(4, panels * MR);
            sum = scratch.floats(5, panels * MR);
            page = scratch.floats(6, tokens * Math.max(dim, valueDim) + NR);
            panel = scratch.floats(7, Math.max(dims * KEYS, Math.ceilDiv(tokens, NR) * NR * dim));
            probabilities = scratch.floats(8, KEYS * MR);
            sums = scratch.floats(9, MR * NR);
            corrections = scratch.floats(11, panels * MR);
        }

        void run() {
            packQueries();
            begin();
            int end = reach.keys();
            for (int s0 = reach.first(0) / KEYS * KEYS; s0 < end; s0 += KEYS) {
                int keys = Math.min(KEYS, end - s0);
                scores(s0, keys);
                for (int query = 0; query < queries; query++) {
                    finish(query, s0, keys);
                }
                values(s0, keys);
            }
            write();
        }

        private int head(int query) {
            return kvHead * heads.group() + query % heads.group();
        }

        private long row(int query) {
            return (long) run.row() + query / heads.group();
        }

        private void packQueries() {
            int line = Lanes.padded(dim);
            float[] rows = scratch.floats(10, MR * line);
            for (int p = 0; p < panels; p++) {
                int count = Math.min(MR, queries - p * MR);
                for (int i = 0; i < count; i++) {
                    int query = p * MR + i;
                    long from = row(query) * heads.queryWidth() + (long) head(query) * dim;
                    Lanes.read(rows, i * line, x.q, DType.F32, from, dim);
                }
                Panels.transpose(q, p * dim * MR, MR, rows, line, count, dim);
            }
            // Scaled here, once a query and not once a score.
            for (int i = 0; i < panels * dim * MR; i++) {
                q[i] *= x.spec.scale();
            }
        }

        /// Nothing seen yet; a sink is a key that was, and has zeros for values.
        private void begin() {
            Arrays.fill(o, 0, panels * MR * dims, 0);
            Arrays.fill(s, 0, panels * MR * KEYS, 0);
            for (int query = 0; query < queries; query++) {
                max[query] = x.sinks == null ? AttentionKernels.LOWEST : x.sinks[head(query)];
                sum[query] = x.sinks == null ? 0 : 1;
            }
        }

        /// The page of keys from `token` on; below 0 where no query sees any of them.
        private int page(int token) {
            return token + tokens <= reach.first(0) ? -1 : table.get(I32, 4L * (token / tokens));
        }

        private long block(int page) {
            return (long) page * heads.kv() + kvHead;
        }

        /// `s[query][key] = scale * q . k`
        private void scores(int s0, int keys) {
            for (int at = 0; at < keys; at += tokens) {
                int number = page(s0 + at);
                if (number < 0) {
                    continue;
                }
                x.keys.read(page, 0, block(number), scratch);
                for (int t = 0; t < tokens; t += NR) {
                    int some = Math.min(NR, tokens - t);
                    float[] columns = columns(t, some);
                    for (int p = 0; p < panels; p++) {
                        PortableGemm.kernel(sums, 0, q, p * dim * MR, columns, 0, dim);
                        int count = Math.min(MR, queries - p * MR);
                        for (int i = 0; i < count; i++) {
                            int to = (p * MR + i) * KEYS + at + t;
                            System.arraycopy(sums, i * NR, s, to, some);
                        }
                    }
                }
            }
        }

        /// Some tokens of a page of keys, `[dim][NR]`.
        private float[] columns(int from, int count) {
            if (tokens == NR) {
                return page;
            }
            for (int d = 0; d < dim; d++) {
                System.arraycopy(page, d * tokens + from, panel, d * NR, count);
            }
            return panel;
        }

        /// Scores of a query become exponentials; its earlier sums are corrected.
        private void finish(int query, int s0, int keys) {
            int base = query * KEYS;
            int t = query / heads.group();
            int position = reach.position(t);
            int end = Math.min(keys, position + 1 - s0);
            int from = Math.max(0, reach.first(t) - s0);
            if (x.spec.softcap() > 0) {
                ElementwiseKernels.softcap(s, base, KEYS, x.spec.softcap());
            }
            if (x.slopes != null) {
                float slope = x.slopes[head(query)];
                for (int j = from; j < end; j++) {
                    s[base + j] = Math.fma((float) (s0 + j - position), slope, s[base + j]);
                }
            }
            // Minus infinity, whose exponential is exactly 0.
            Arrays.fill(s, base, base + Math.min(from, KEYS), Float.NEGATIVE_INFINITY);
            Arrays.fill(s, base + Math.max(0, end), base + KEYS, Float.NEGATIVE_INFINITY);
            float old = max[query];
            float most = old;
            for (int j = from; j < end; j++) {
                most = most < s[base + j] ? s[base + j] : most;
            }
            for (int j = 0; j < KEYS; j += N) {
                Exp.exp(FloatVector.fromArray(F, s, base + j).sub(most)).intoArray(s, base + j);
            }
            float own = 0;
            for (int j = 0; j < keys; j++) {
                own += s[base + j];
            }
            float correction = Exp.exp(FloatVector.broadcast(F, old - most)).lane(0);
            max[query] = most;
            sum[query] = Math.fma(sum[query], correction, own);
            corrections[query] = correction;
        }

        /// `o[query][channel] = o * correction + sum_key s[query][key] * v[key][channel]`
        private void values(int s0, int keys) {
            for (int at = 0; at < keys; at += tokens) {
                int count = Math.min(tokens, keys - at);
                int number = page(s0 + at);
                if (number < 0) {
                    Arrays.fill(page, 0, count * valueDim, 0);
                } else {
                    x.values.read(page, 0, block(number), scratch);
                }
                for (int t = 0; t < count; t++) {
                    spread(t * valueDim, at + t);
                }
            }
            for (int p = 0; p < panels; p++) {
                int count = Math.min(MR, queries - p * MR);
                for (int i = 0; i < count; i++) {
                    int from = (p * MR + i) * KEYS;
                    for (int j = 0; j < keys; j++) {
                        probabilities[j * MR + i] = s[from + j];
                    }
                }
                for (int c = 0; c < valueDim; c += NR) {
                    PortableGemm.kernel(sums, 0, probabilities, 0, panel, c * KEYS, keys);
                    for (int i = 0; i < count; i++) {
                        add(p * MR + i, c, i * NR);
                    }
                }
            }
        }

        /// A token's values, a panel's width at a time.
        private void spread(int from, int key) {
            for (int c = 0; c < valueDim; c += NR) {
                int to = c * KEYS + key * NR;
                for (int l = 0; l < NR; l += N) {
                    // What a vector takes from the next token lies in channels that nobody asks
                    // for.
                    FloatVector.fromArray(F, page, from + c + l).intoArray(panel, to + l);
                }
            }
        }

        private void add(int query, int channel, int from) {
            for (int l = 0; l < NR; l += N) {
                int to = query * dims + channel + l;
                FloatVector.fromArray(F, o, to)
                        .fma(
                                FloatVector.broadcast(F, corrections[query]),
                                FloatVector.fromArray(F, sums, from + l))
                        .intoArray(o, to);
            }
        }

        private void write() {
            for (int query = 0; query < queries; query++) {
                long to = row(query) * heads.outWidth() + (long) head(query) * valueDim;
                for (int d = 0; d < valueDim; d++) {
                    // The division by the sum, left until all keys are in it.
                    x.out.set(F32, 4 * (to + d), o[query * dims + d] / sum[query]);
                }
            }
        }
    }
}
