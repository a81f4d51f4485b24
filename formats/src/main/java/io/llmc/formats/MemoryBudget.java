// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.google.errorprone.annotations.MustBeClosed;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// The account of what lies outside of the Java heap: arenas of tensors, copies on their way, and
/// mapped weights. Who takes memory says so here first, and nothing is taken above the cap.
///
/// The JVM's own memory and the page cache of files that are not mapped do not count.
public final class MemoryBudget {
    /// For devices that count their memory themselves, and for looks at a few headers.
    public static final MemoryBudget NONE = new MemoryBudget(Long.MAX_VALUE, false);

    private final long cap;
    private final boolean counts;
    private long held;
    private long peak;

    /// @param cap bytes at most; `Long.MAX_VALUE` for no cap
    public MemoryBudget(long cap) {
        this(cap, true);
    }

    private MemoryBudget(long cap, boolean counts) {
        this.cap = cap;
        this.counts = counts;
    }

    /// Before memory is taken.
    ///
    /// @throws UserException where it would go above the cap
    public synchronized void take(long bytes) {
        if (!counts) {
            return;
        }
        if (bytes > cap - held) {
            throw new UserException(
                    "{memory} is too little: %,d bytes are held, and %,d more would be above its %,d"
                            .formatted(held, bytes, cap),
                    "raise it");
        }
        held += bytes;
        peak = Math.max(peak, held);
    }

    /// Most bytes that were held at once so far; 0 for one that does not count.
    public synchronized long peak() {
        return peak;
    }

    /// From here on the peak is that of what comes.
    public synchronized void forgetPeak() {
        peak = held;
    }

    /// After memory was given back.
    public synchronized void giveBack(long bytes) {
        if (counts) {
            held -= bytes;
        }
    }

    /// An arena whose bytes count; any thread may use it.
    @MustBeClosed
    public Arena newArena() {
        return new Counted(true);
    }

    /// The same for the calling thread alone, where arenas come and go often: to close one that
    /// threads share, all threads of the JVM must stop.
    @MustBeClosed
    public Arena newOwnArena() {
        return new Counted(false);
    }

    private final class Counted implements Arena {
        private final Arena arena;
        private long taken;

        @SuppressWarnings("MustBeClosed") // closed by close()
        Counted(boolean shared) {
            arena = shared ? Arena.ofShared() : Arena.ofConfined();
        }

        @Override
        public synchronized MemorySegment allocate(long bytes, long alignment) {
            take(bytes);
            taken += bytes;
            return arena.allocate(bytes, alignment);
        }

        @Override
        public MemorySegment.Scope scope() {
            return arena.scope();
        }

        @Override
        public synchronized void close() {
            arena.close();
            giveBack(taken);
            taken = 0;
        }
    }
}
