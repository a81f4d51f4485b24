// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.formats.MemoryBudget;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntConsumer;

/// A fixed number of threads that share the tiles of an operation; the caller is one of them.
///
/// Who computes a tile is left to chance, so a tile must be all of the work on its output, and its
/// bounds must not depend on the number of threads: then neither do results.
final class Workers implements AutoCloseable {
    /// The work on one tile.
    @FunctionalInterface
    interface Body {
        void run(int tile, Scratch scratch);
    }

    /// Elements of a tile of whole rows.
    private static final int ROW_TILE = 1 << 14;

    /// How long a helper looks for work before it sleeps. Waking it takes longer than the
    /// operations of a decoder's step last, and less than this lies between two of them.
    private static final long SPIN_NANOS = 50_000;

    private final Thread[] helpers;
    private final LinkedBlockingQueue<Job> jobs = new LinkedBlockingQueue<>();
    private final ConcurrentLinkedDeque<Scratch> idle = new ConcurrentLinkedDeque<>();
    private final MemoryBudget budget;
    private volatile boolean closed;

    /// @param budget for what scratch buffers hold outside the heap
    Workers(int threads, MemoryBudget budget) {
        this.budget = budget;
        helpers = new Thread[threads - 1];
        for (int i = 0; i < helpers.length; i++) {
            helpers[i] =
                    Thread.ofPlatform().daemon().name("llmc-cpu-" + (i + 1)).start(this::serve);
        }
    }

    int threads() {
        return helpers.length + 1;
    }

    void forEach(int tiles, IntConsumer body) {
        forEach(tiles, (tile, _) -> body.accept(tile));
    }

    /// Runs `body` for every tile in `[0, tiles)`, in no particular order. The first exception of a
    /// tile is thrown here once no tile runs any more; later tiles are then left out.
    void forEach(int tiles, Body body) {
        if (tiles < 1) {
            return;
        }
        Job job = new Job(tiles, body);
        for (int i = Math.min(helpers.length, tiles - 1); i > 0; i--) {
            jobs.add(job);
        }
        work(job);
        job.await();
    }

    /// Bodies one after another, each compiled by itself: the call has too many targets to be
    /// inlined.
    static Body inTurn(List<Body> parts) {
        Body[] all = parts.toArray(Body[]::new);
        return (tile, scratch) -> {
            for (Body part : all) {
                part.run(tile, scratch);
            }
        };
    }

    /// The work on one row, which no other row's work touches.
    @FunctionalInterface
    interface RowBody {
        void run(long row, Scratch scratch);
    }

    /// Tiles of whole rows.
    ///
    /// @param cols elements of a row
    void forEachRow(long rows, long cols, RowBody body) {
        long perTile = Math.max(1, ROW_TILE / Math.max(1, cols));
        forEach(
                Math.toIntExact(Math.ceilDiv(rows, perTile)),
                (tile, scratch) -> {
                    long end = Math.min(rows, (tile + 1L) * perTile);
                    for (long r = tile * perTile; r < end; r++) {
                        body.run(r, scratch);
                    }
                });
    }

    /// A buffer that outlives one tile; give it back with [#giveBack].
    Scratch borrow() {
        Scratch scratch = idle.pollFirst();
        return scratch == null ? new Scratch(budget) : scratch;
    }

    void giveBack(Scratch scratch) {
        idle.addFirst(scratch);
    }

    private void work(Job job) {
        Scratch scratch = borrow();
        try {
            job.work(scratch);
        } finally {
            giveBack(scratch);
        }
    }

    private void serve() {
        while (!closed) {
            try {
                work(next());
            } catch (InterruptedException _) {
                return;
            }
        }
    }

    private Job next() throws InterruptedException {
        long start = System.nanoTime();
        do {
            Job job = jobs.poll();
            if (job != null) {
                return job;
            }
            Thread.onSpinWait();
        } while (System.nanoTime() - start < SPIN_NANOS);
        return jobs.take();
    }

    @Override
    public void close() {
        closed = true;
        for (Thread helper : helpers) {
            helper.interrupt();
        }
        for (Scratch s = idle.pollFirst(); s != null; s = idle.pollFirst()) {
            s.close();
        }
    }

    private static final class Job {
        private final int tiles;
        private final Body body;
        private final AtomicInteger next = new AtomicInteger();
        private final AtomicInteger done = new AtomicInteger();
        private final AtomicReference<Throwable> failure = new AtomicReference<>();
        private final CountDownLatch finished = new CountDownLatch(1);

        Job(int tiles, Body body) {
            this.tiles = tiles;
            this.body = body;
        }

        void work(Scratch scratch) {
            for (int tile = next.getAndIncrement(); tile < tiles; tile = next.getAndIncrement()) {
                try {
                    if (failure.get() == null) {
                        body.run(tile, scratch);
                    }
                } catch (RuntimeException | Error e) {
                    failure.compareAndSet(null, e);
                } finally {
                    if (done.incrementAndGet() == tiles) {
                        finished.countDown();
                    }
                }
            }
        }

        void await() {
            long start = System.nanoTime();
            while (done.get() < tiles && System.nanoTime() - start < SPIN_NANOS) {
                Thread.onSpinWait();
            }
            boolean interrupted = false;
            while (true) {
                try {
                    finished.await();
                    break;
                } catch (InterruptedException _) {
                    interrupted = true; // a kernel cannot stop halfway; the caller finds out later
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
            switch (failure.get()) {
                case null -> {}
                case RuntimeException e -> throw e;
                case Error e -> throw e;
                case Throwable e -> throw new IllegalStateException(e);
            }
        }
    }
}
