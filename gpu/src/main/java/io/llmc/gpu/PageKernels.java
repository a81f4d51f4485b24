// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.AttentionSpec.Reach;
import io.llmc.backend.CacheOp;
import io.llmc.backend.CacheOp.Pages;
import io.llmc.backend.CacheOp.Run;
import io.llmc.gpu.driver.CudaBuffer;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/// A paged cache of keys and values. Sequences with few queries share launches, and read pages as
/// they lie; of one with many the pages are put together, and go through [AttentionKernels].
final class PageKernels {
    /// Queries of a sequence that are few.
    private static final int FEW = 8;

    /// Sequences of a launch, and the bytes that each takes of its parameters (`Runs` in pages.cu).
    private static final int RUNS = 64;

    private static final int RUN_BYTES = 40;

    /// Rows of queries that a block has at most.
    private static final int ROWS = 8;

    private static final int THREADS = 128;
    private static final int MERGE_THREADS = 256;
    private static final int GATHER_THREADS = 256;

    /// Channels of a block that merges.
    private static final int MERGED = 128;

    /// Keys or values on their way into shared memory.
    private static final int PIECE_BYTES = 128 * CacheOp.KEYS;

    private final Gpu gpu;
    private final Kernels kernels;
    private final AttentionKernels whole;

    PageKernels(Gpu gpu, AttentionKernels whole) {
        this.gpu = gpu;
        this.whole = whole;
        kernels = new Kernels(gpu, "pages");
    }

    void store(CacheOp.StorePages op) {
        int heads = Math.toIntExact(op.x().cols() / op.pages().width());
        for (List<Run> runs : launches(op.runs())) {
            long rows = longest(runs) * (long) heads;
            kernels.launch(
                    "pages_store",
                    Grid.blocks(Math.ceilDiv(rows * 32, THREADS), 1, runs.size(), THREADS),
                    AttentionKernels.flat(
                            pages(op.pages()),
                            op.pages().width(),
                            heads,
                            op.pages().turned() ? 1 : 0,
                            op.x(),
                            packed(runs, new long[runs.size()])));
        }
    }

    void gather(CacheOp.GatherPages op) {
        gather(op.out(), op.pages(), op.run(), 0, op.heads());
    }

    void attention(CacheOp.PagedAttention op) {
        for (Run run : op.runs()) {
            if (run.reach().length() > FEW) {
                many(op, run);
            }
        }
        List<Run> few = op.runs().stream().filter(r -> r.reach().length() <= FEW).toList();
        launches(few).forEach(runs -> few(op, runs));
    }

    private static List<List<Run>> launches(List<Run> runs) {
        List<List<Run>> launches = new ArrayList<>();
        for (int i = 0; i < runs.size(); i += RUNS) {
            launches.add(runs.subList(i, Math.min(runs.size(), i + RUNS)));
        }
        return launches;
    }

    private static int longest(List<Run> runs) {
        return runs.stream().mapToInt(r -> r.reach().length()).max().orElseThrow();
    }

    /// The pages' tensors, and what kernels must know of them.
    private static Object[] pages(Pages pages) {
        return new Object[] {
            pages.data(), pages.scales(), Types.ofPages(pages.data().dtype()), pages.tokens()
        };
    }

    /// @param parts where each sequence's partial results begin
    private static byte[] packed(List<Run> runs, long[] parts) {
        ByteBuffer bytes = ByteBuffer.allocate(RUNS * RUN_BYTES).order(ByteOrder.nativeOrder());
        for (int i = 0; i < runs.size(); i++) {
            Run run = runs.get(i);
            Reach reach = run.reach();
            bytes.putLong(CudaBuffer.address(run.table()))
                    .putLong(parts[i])
                    .putInt(run.row())
                    .putInt(reach.length())
                    .putInt(reach.keys())
                    .putInt(AttentionKernels.window(reach))
                    .putInt(AttentionKernels.chunk(reach))
                    .putInt(firstBlock(run));
        }
        return bytes.array();
    }

    private static int firstBlock(Run run) {
        return run.reach().first(0) / CacheOp.KEYS;
    }

    /// Blocks of keys that some query of it sees.
    private static int blocks(Run run) {
        return Math.ceilDiv(run.reach().keys(), CacheOp.KEYS) - firstBlock(run);
    }

    /// Partial results of every block of keys, then their sums.
    private void few(CacheOp.PagedAttention op, List<Run> runs) {
        AttentionSpec.Heads heads = op.spec().heads();
        int rows = rows(longest(runs) * heads.group());
        long[] parts = new long[runs.size()];
        long all = 0;
        long blocks = 0;
        for (int i = 0; i < parts.length; i++) {
            Run run = runs.get(i);
            int length = run.reach().length();
            parts[i] = all;
            all += (long) blocks(run) * length * heads.count();
            long tiles = Math.ceilDiv(length * heads.group(), rows);
            blocks = Math.max(blocks, blocks(run) * tiles * heads.kv());
        }
        byte[] packed = packed(runs, parts);
        try (Gpu.Scratch outs = gpu.scratch(4 * all * heads.valueDim());
                Gpu.Scratch stats = gpu.scratch(8 * all)) {
            kernels.launch(
                    "pages_attend_" + rows,
                    Grid.blocks(blocks, 1, runs.size(), CacheOp.KEYS)
                            .withShared(shared(rows, heads.dim())),
                    AttentionKernels.flat(
                            outs,
                            stats,
                            op.q(),
                            op.keys().data(),
                            op.keys().scales(),
                            Types.ofPages(op.keys().data().dtype()),
                            pages(op.values()),
                            heads.count(),
                            heads.kv(),
                            heads.dim(),
                            heads.valueDim(),
                            op.spec().scale(),
                            op.spec().softcap(),
                            op.slopes(),
                            packed));
            kernels.launch(
                    "pages_merge",
                    Grid.blocks(
                            longest(runs) * (long) heads.count(),
                            Math.ceilDiv(heads.valueDim(), MERGED),
                            runs.size(),
                            MERGE_THREADS),
                    op.out(),
                    outs,
                    stats,
                    op.sinks(),
                    heads.count(),
                    heads.valueDim(),
                    packed);
        }
    }

    /// Of a block, the least that has all, or the most.
    private static int rows(int wanted) {
        return Math.min(ROWS, Integer.highestOneBit(2 * wanted - 1));
    }

    /// Two pieces of pages, sums of a block's threads, scores and queries.
    private static long shared(int rows, int dim) {
        long queries = Math.ceilDiv(dim, 4) * 4L;
        return 2L * PIECE_BYTES + 4L * rows * (4L * CacheOp.KEYS + CacheOp.KEYS + queries);
    }

    private void many(CacheOp.PagedAttention op, Run run) {
        AttentionSpec.Heads heads = op.spec().heads();
        Reach reach = run.reach();
        // Chunks and tiles of keys stay where they are, counted from the sequence's first.
        int start =
                reach.chunk() == 0
                        ? reach.first(0) / AttentionKernels.TILE * AttentionKernels.TILE
                        : reach.position(0) / reach.chunk() * reach.chunk();
        int keys = reach.keys() - start;
        int end = run.row() + reach.length();
        try (Gpu.Scratch k = gpu.scratch(4L * keys * heads.keyWidth());
                Gpu.Scratch v = gpu.scratch(4L * keys * heads.valueWidth())) {
            gather(k, op.keys(), run, start, heads.kv());
            gather(v, op.values(), run, start, heads.kv());
            whole.attention(
                    op.out().rows(run.row(), end),
                    op.q().rows(run.row(), end),
                    k,
                    v,
                    op.sinks(),
                    op.slopes(),
                    op.spec().with(new Reach(reach.length(), keys, reach.window(), reach.chunk())));
        }
    }

    /// @param to a tensor, or scratch
    private void gather(Object to, Pages pages, Run run, int start, int heads) {
        int keys = run.reach().keys();
        int first = start / pages.tokens();
        kernels.launch(
                "pages_gather",
                Grid.blocks(Math.ceilDiv(keys, pages.tokens()) - first, heads, GATHER_THREADS),
                AttentionKernels.flat(
                        to,
                        pages(pages),
                        pages.width(),
                        heads,
                        pages.turned() ? 1 : 0,
                        run.table(),
                        start,
                        keys));
    }
}
