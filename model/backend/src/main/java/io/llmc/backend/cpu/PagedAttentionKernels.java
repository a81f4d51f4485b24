// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.AttentionKernels.KEYS;
import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;
import static io.llmc.backend.cpu.PortableGemm.NR;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CacheOp;
import io.llmc.backend.ForwardOp;
import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Attention over pages. The few queries of a step of decoding read each page once, as it lies,
/// with the arithmetic of [AttentionKernels], so that they have the bits that they have among all
/// others; the many of a prompt have the pages put together and go through that.
///
/// Where there are fewer heads of keys than work for all threads, these share a head's blocks of
/// keys, in rounds: their scores, then, with the maxima that are known now, their sums of values,
/// which are added up in the order of the keys.
final class PagedAttentionKernels {
    /// Rows of queries, heads of a group apart, up to which pages are read as they lie.
    private static final int FEW = 64;

    /// Blocks of keys of a head that threads share at a time: it bounds what their scores take.
    private static final int ROUND = 16;

    /// Rows of queries of a register tile.
    private static final int ROWS = 4;

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
        int tiles = few.size() * heads.kv();
        boolean longOnes = few.stream().anyMatch(r -> blocks(r) >= 2 * workers.threads());
        if (longOnes && tiles < 2 * workers.threads()) {
            shared(operands, few);
        } else {
            workers.forEach(
                    tiles,
                    (tile, scratch) -> {
                        CacheOp.Run run = few.get(tile / heads.kv());
                        new Tile(operands, run, tile % heads.kv(), 1, scratch).run(scratch);
                    });
        }
        for (CacheOp.Run run : op.runs()) {
            if (run.reach().length() * heads.group() > FEW) {
                many(op, run);
            }
        }
    }

    private static int blocks(CacheOp.Run run) {
        return Math.ceilDiv(run.reach().keys(), KEYS) - run.reach().first(0) / KEYS;
    }

    private void shared(Operands x, List<CacheOp.Run> runs) {
        List<Scratch> borrowed = new ArrayList<>();
        List<Tile> tiles = new ArrayList<>();
        try {
            for (CacheOp.Run run : runs) {
                for (int head = 0; head < x.spec.heads().kv(); head++) {
                    Scratch scratch = workers.borrow();
                    borrowed.add(scratch);
                    tiles.add(new Tile(x, run, head, ROUND, scratch));
                }
            }
            tiles.forEach(Tile::begin);
            int rounds = runs.stream().mapToInt(PagedAttentionKernels::blocks).max().orElse(0);
            for (int first = 0; first < rounds; first += ROUND) {
                int from = first;
                int all = tiles.size() * ROUND;
                workers.forEach(
                        all, (i, scratch) -> tiles.get(i / ROUND).scores(from, i % ROUND, scratch));
                tiles.forEach(t -> t.maxima(from));
                workers.forEach(
                        all, (i, scratch) -> tiles.get(i / ROUND).values(from, i % ROUND, scratch));
                tiles.forEach(t -> t.add(from));
            }
            tiles.forEach(Tile::write);
        } finally {
            borrowed.forEach(workers::giveBack);
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
    /// run, head `kvHead * group + i % group`. Some blocks of keys are done at a time, each in a
    /// slot.
    private static final class Tile {
        private final Operands x;
        private final CacheOp.Run run;
        private final MemorySegment table;
        private final AttentionSpec.Heads heads;
        private final AttentionSpec.Reach reach;
        private final int kvHead;
        private final int slots;
        private final int tokens;
        private final int dim;
        private final int valueDim;
        private final int queries;

        /// Queries in whole register tiles.
        private final int rows;

        /// `valueDim` in whole panels.
        private final int dims;

        /// The first block of keys.
        private final int start;

        /// Behind the last one.
        private final int end;

        /// `[panel][dim][ROWS]`
        private final float[] q;

        /// `[slot][query][KEYS]`: scores, then their exponentials.
        private final float[] s;

        /// `[query][dims]`
        private final float[] o;

        /// `[slot][panel of queries][panel of channels][ROWS][NR]`
        private final float[] sums;

        /// Running maxima, then sums; `[query]` each.
        private final float[] max;

        private final float[] sum;

        /// `[slot][query]` each: a block's maximum and then that of all up to it, what it does to
        /// the sums before it, and the sum of the block's exponentials.
        private final float[] most;

        private final float[] corrections;

        private final float[] own;

        /// @param slots blocks that are done at a time
        /// @param kept what the tile lives in
        Tile(Operands x, CacheOp.Run run, int kvHead, int slots, Scratch kept) {
            this.x = x;
            this.run = run;
            this.table = run.table().bytes();
            this.heads = x.spec.heads();
            this.reach = run.reach();
            this.kvHead = kvHead;
            this.slots = slots;
            tokens = x.keys.tokens;
            dim = heads.dim();
            valueDim = heads.valueDim();
            queries = reach.length() * heads.group();
            rows = Math.ceilDiv(queries, ROWS) * ROWS;
            dims = Math.ceilDiv(valueDim, NR) * NR;
            start = reach.first(0) / KEYS;
            end = start + blocks(run);
            q = kept.floats(1, rows * dim);
            s = kept.floats(2, slots * rows * KEYS);
            o = kept.floats(3, rows * dims);
            max = kept.floats(4, rows);
            sum = kept.floats(5, rows);
            sums = kept.floats(6, slots * rows * dims);
            most = kept.floats(7, slots * rows);
            corrections = kept.floats(8, slots * rows);
            own = kept.floats(9, slots * rows);
            packQueries(kept);
        }

        void run(Scratch scratch) {
            begin();
            for (int block = 0; start + block < end; block++) {
                scores(block, 0, scratch);
                maxima(block);
                values(block, 0, scratch);
                add(block);
            }
            write();
        }

        private int head(int query) {
            return kvHead * heads.group() + query % heads.group();
        }

        private long row(int query) {
            return (long) run.row() + query / heads.group();
        }

        private void packQueries(Scratch scratch) {
            int line = Lanes.padded(dim);
            float[] lines = scratch.floats(10, ROWS * line);
            for (int p = 0; p < rows; p += ROWS) {
                int count = Math.min(ROWS, queries - p);
                for (int i = 0; i < count; i++) {
                    long from = row(p + i) * heads.queryWidth() + (long) head(p + i) * dim;
                    Lanes.read(lines, i * line, x.q, DType.F32, from, dim);
                }
                Panels.transpose(q, p * dim, ROWS, lines, line, count, dim);
            }
            // Scaled here, once a query and not once a score.
            for (int i = 0; i < rows * dim; i++) {
                q[i] *= x.spec.scale();
            }
        }

        /// Nothing seen yet; a sink is a key that was, and has zeros for values.
        void begin() {
            Arrays.fill(o, 0, rows * dims, 0);
            Arrays.fill(s, 0, slots * rows * KEYS, 0);
            for (int query = 0; query < queries; query++) {
                max[query] = x.sinks == null ? AttentionKernels.LOWEST : x.sinks[head(query)];
                sum[query] = x.sinks == null ? 0 : 1;
            }
        }

        /// Keys of a block, of which there may be none.
        private int keys(int block) {
            return Math.clamp(reach.keys() - (long) (start + block) * KEYS, 0, KEYS);
        }

        /// The page of keys from `token` on; below 0 where no query sees any of them.
        private int page(int token) {
            return token + tokens <= reach.first(0) ? -1 : table.get(I32, 4L * (token / tokens));
        }

        private long number(int page) {
            return (long) page * heads.kv() + kvHead;
        }

        /// `s[query][key] = scale * q . k` of a block, and each query's greatest.
        ///
        /// @param first the block in the first slot
        void scores(int first, int slot, Scratch scratch) {
            int keys = keys(first + slot);
            int s0 = (start + first + slot) * KEYS;
            float[] tile = scratch.floats(11, ROWS * NR);
            for (int at = 0; at < keys; at += tokens) {
                int page = page(s0 + at);
                if (page < 0) {
                    continue;
                }
                long address = x.keys.address(number(page), tokens % NR == 0, scratch);
                for (int t = 0; t < tokens; t += NR) {
                    int some = Math.min(NR, tokens - t);
                    for (int p = 0; p < rows; p += ROWS) {
                        Arrays.fill(tile, 0, ROWS * NR, 0);
                        StridedKernel.add(tile, 0, q, p * dim, address + 4L * t, 4L * tokens, dim);
                        for (int i = 0; i < ROWS; i++) {
                            int to = ((slot * rows) + p + i) * KEYS + at + t;
                            System.arraycopy(tile, i * NR, s, to, some);
                        }
                    }
                }
            }
            for (int query = 0; query < queries && keys > 0; query++) {
                bias(query, slot, s0, keys);
            }
        }

        private void bias(int query, int slot, int s0, int keys) {
            int base = (slot * rows + query) * KEYS;
            int t = query / heads.group();
            int position = reach.position(t);
            int last = Math.min(keys, position + 1 - s0);
            int from = Math.max(0, reach.first(t) - s0);
            if (x.spec.softcap() > 0) {
                ElementwiseKernels.softcap(s, base, KEYS, x.spec.softcap());
            }
            if (x.slopes != null) {
                float slope = x.slopes[head(query)];
                for (int j = from; j < last; j++) {
                    s[base + j] = Math.fma((float) (s0 + j - position), slope, s[base + j]);
                }
            }
            // Minus infinity, whose exponential is exactly 0.
            Arrays.fill(s, base, base + Math.min(from, KEYS), Float.NEGATIVE_INFINITY);
            Arrays.fill(s, base + Math.max(0, last), base + KEYS, Float.NEGATIVE_INFINITY);
            FloatVector greatest = FloatVector.broadcast(F, Float.NEGATIVE_INFINITY);
            for (int j = 0; j < KEYS; j += N) {
                FloatVector v = FloatVector.fromArray(F, s, base + j);
                greatest = greatest.blend(v, greatest.compare(VectorOperators.LT, v));
            }
            float one = Float.NEGATIVE_INFINITY;
            for (int i = 0; i < N; i++) {
                float lane = greatest.lane(i);
                one = one < lane ? lane : one;
            }
            most[slot * rows + query] = one;
        }

        /// The maximum of all keys up to each block's last one.
        void maxima(int first) {
            for (int slot = 0; slot < slots && keys(first + slot) > 0; slot++) {
                for (int query = 0; query < queries; query++) {
                    int at = slot * rows + query;
                    float old = max[query];
                    most[at] = old < most[at] ? most[at] : old;
                    corrections[at] = Exp.exp(FloatVector.broadcast(F, old - most[at])).lane(0);
                    max[query] = most[at];
                }
            }
        }

        /// Scores of a block become exponentials; `sums[query][channel] = sum_key s[query][key] *
        /// v[key][channel]`.
        void values(int first, int slot, Scratch scratch) {
            int keys = keys(first + slot);
            if (keys == 0) {
                return;
            }
            int s0 = (start + first + slot) * KEYS;
            float[] probabilities = scratch.floats(11, rows * KEYS);
            for (int p = 0; p < rows; p += ROWS) {
                exponentials(p, slot, keys, probabilities);
            }
            int base = slot * rows * dims;
            Arrays.fill(sums, base, base + rows * dims, 0);
            for (int at = 0; at < keys; at += tokens) {
                int page = page(s0 + at);
                if (page < 0) {
                    continue;
                }
                int count = Math.min(tokens, keys - at);
                long address = x.values.address(number(page), valueDim % NR == 0, scratch);
                for (int c = 0; c < valueDim; c += NR) {
                    for (int p = 0; p < rows; p += ROWS) {
                        StridedKernel.add(
                                sums,
                                base + p * dims + c * ROWS,
                                probabilities,
                                p * KEYS + at * ROWS,
                                address + 4L * c,
                                4L * valueDim,
                                count);
                    }
                }
            }
        }

        /// @param probabilities `[panel of queries][key][ROWS]`
        private void exponentials(int p, int slot, int keys, float[] probabilities) {
            int count = Math.min(ROWS, queries - p);
            for (int i = 0; i < ROWS; i++) {
                int from = (slot * rows + p + i) * KEYS;
                for (int j = 0; j < KEYS && i < count; j += N) {
                    Exp.exp(FloatVector.fromArray(F, s, from + j).sub(most[slot * rows + p + i]))
                            .intoArray(s, from + j);
                }
            }
            int from = (slot * rows + p) * KEYS;
            float a = 0;
            float b = 0;
            float c = 0;
            float d = 0;
            // Each in the order of the keys.
            for (int j = 0; j < keys; j++) {
                int to = p * KEYS + j * ROWS;
                float e = s[from + j];
                float f = s[from + KEYS + j];
                float g = s[from + 2 * KEYS + j];
                float h = s[from + 3 * KEYS + j];
                probabilities[to] = e;
                probabilities[to + 1] = f;
                probabilities[to + 2] = g;
                probabilities[to + 3] = h;
                a += e;
                b += f;
                c += g;
                d += h;
            }
            own[slot * rows + p] = a;
            own[slot * rows + p + 1] = b;
            own[slot * rows + p + 2] = c;
            own[slot * rows + p + 3] = d;
        }

        /// `o[query][channel] = o * correction + sums`, block by block.
        void add(int first) {
            for (int slot = 0; slot < slots && keys(first + slot) > 0; slot++) {
                for (int query = 0; query < queries; query++) {
                    int at = slot * rows + query;
                    sum[query] = Math.fma(sum[query], corrections[at], own[at]);
                    for (int c = 0; c < valueDim; c += NR) {
                        int from = slot * rows * dims + query / ROWS * ROWS * dims;
                        add(query, c, from + c * ROWS + query % ROWS * NR, corrections[at]);
                    }
                }
            }
        }

        private void add(int query, int channel, int from, float correction) {
            for (int l = 0; l < NR; l += N) {
                int to = query * dims + channel + l;
                FloatVector.fromArray(F, o, to)
                        .fma(
                                FloatVector.broadcast(F, correction),
                                FloatVector.fromArray(F, sums, from + l))
                        .intoArray(o, to);
            }
        }

        void write() {
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
