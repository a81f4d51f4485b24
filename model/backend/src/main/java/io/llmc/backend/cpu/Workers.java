// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.formats.MemoryBudget;
import java.util.ArrayDeque;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
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

    private final Helper[] helpers;
    private final ArrayDeque<Scratch> idle = new ArrayDeque<>();
    private final MemoryBudget budget;
    private volatile boolean closed;

    /// @param budget for what scratch buffers hold outside the heap
    Workers(int threads, MemoryBudget budget) {
        this.budget = budget;
        helpers = new Helper[threads - 1];
        for (int i = 0; i < helpers.length; i++) {
            helpers[i] = new Helper("llmc-cpu-" + (i + 1));
        }
        for (Helper helper : helpers) {
            helper.thread.start();
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
        for (int i = 0; i < helpers.length && i < tiles - 1; i++) {
            helpers[i].offer(job);
        }
        Scratch scratch = borrow();
        try {
            job.work(scratch);
        } finally {
            giveBack(scratch);
        }
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
        Scratch scratch;
        synchronized (idle) {
            scratch = idle.pollFirst();
        }
        return scratch == null ? new Scratch(budget) : scratch;
    }

    void giveBack(Scratch scratch) {
        synchronized (idle) {
            idle.addFirst(scratch);
        }
    }

    /// Waits until helpers have done what they began, and frees all memory.
    @Override
    public void close() {
        closed = true;
        try {
            for (Helper helper : helpers) {
                LockSupport.unpark(helper.thread);
                helper.thread.join();
            }
        } catch (InterruptedException _) {
            Thread.currentThread().interrupt();
        }
        synchronized (idle) {
            idle.forEach(Scratch::close);
            idle.clear();
        }
    }

    /// A thread that takes part in the newest job it is offered. A job that was replaced before it
    /// looked is done without it: whoever offers one works on it until it is done.
    private final class Helper {
        private final AtomicReference<Job> offered = new AtomicReference<>();
        private final Thread thread;
        private volatile boolean asleep;

        Helper(String name) {
            thread = Thread.ofPlatform().daemon().name(name).unstarted(this::serve);
        }

        void offer(Job job) {
            offered.set(job);
            if (asleep) {
                LockSupport.unpark(thread);
            }
        }

        private void serve() {
            try (Scratch scratch = new Scratch(budget)) {
                for (Job job = next(); job != null; job = next()) {
                    job.work(scratch);
                }
            }
        }

        /// Null once there will be none.
        private Job next() {
            long start = System.nanoTime();
            while (!closed) {
                Job job = offered.get();
                if (job != null) {
                    offered.compareAndSet(job, null);
                    return job;
                }
                if (System.nanoTime() - start < SPIN_NANOS) {
                    Thread.onSpinWait();
                    continue;
                }
                asleep = true;
                if (offered.get() == null && !closed) {
                    LockSupport.park(this);
                }
                asleep = false;
                start = System.nanoTime();
            }
            return null;
        }
    }

    private static final class Job {
        private final int tiles;
        private final Body body;
        private final AtomicInteger next = new AtomicInteger();
        private final AtomicInteger done = new AtomicInteger();
        private final Thread caller = Thread.currentThread();
        private volatile Throwable failure;
        private volatile boolean asleep;

        Job(int tiles, Body body) {
            this.tiles = tiles;
            this.body = body;
        }

        void work(Scratch scratch) {
            for (int tile = next.getAndIncrement(); tile < tiles; tile = next.getAndIncrement()) {
                try {
                    if (failure == null) {
                        body.run(tile, scratch);
                    }
                } catch (RuntimeException | Error e) {
                    fail(e);
                } finally {
                    if (done.incrementAndGet() == tiles && asleep) {
                        LockSupport.unpark(caller);
                    }
                }
            }
        }

        private synchronized void fail(Throwable e) {
            failure = failure == null ? e : failure;
        }

        /// A kernel cannot stop halfway: who is interrupted finds out later.
        void await() {
            long start = System.nanoTime();
            boolean interrupted = false;
            while (done.get() < tiles) {
                if (System.nanoTime() - start < SPIN_NANOS) {
                    Thread.onSpinWait();
                    continue;
                }
                asleep = true;
                if (done.get() < tiles) {
                    LockSupport.park(this);
                    interrupted |= Thread.interrupted();
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
            switch (failure) {
                case null -> {}
                case RuntimeException e -> throw e;
                case Error e -> throw e;
                case Throwable e -> throw new IllegalStateException(e);
            }
        }
    }
}
