// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu.driver;

/// Blocks of a launch, and what each of them has.
///
/// @param threads of a block
/// @param shared bytes of dynamic shared memory of a block
public record Grid(int x, int y, int z, int threads, int shared) {
    private static final int ELEMENT_THREADS = 256;

    /// Enough to fill the largest device many times over; the rest goes in strides.
    private static final int ELEMENT_BLOCKS = 1 << 14;

    /// Threads for n elements, where each goes on in strides of the whole grid.
    public static Grid elements(long n) {
        long blocks = Math.max(1, Math.ceilDiv(n, (long) ELEMENT_THREADS));
        return new Grid((int) Math.min(blocks, ELEMENT_BLOCKS), 1, 1, ELEMENT_THREADS, 0);
    }

    /// One block for each of n rows (or whatever a block does).
    public static Grid blocks(long n, int threads) {
        return new Grid(Math.toIntExact(n), 1, 1, threads, 0);
    }

    public static Grid blocks(long x, long y, int threads) {
        return new Grid(Math.toIntExact(x), Math.toIntExact(y), 1, threads, 0);
    }

    public static Grid blocks(long x, long y, long z, int threads) {
        return new Grid(Math.toIntExact(x), Math.toIntExact(y), Math.toIntExact(z), threads, 0);
    }

    /// Threads for a block that works on a row of `cols` elements: whole warps, 32 to 256, about 4
    /// elements each.
    public static int rowThreads(long cols) {
        long warps = Math.clamp(Math.ceilDiv(cols, 128L), 1, 8);
        return (int) (32 * Long.highestOneBit(warps));
    }

    /// As many blocks for each of n parts of the work.
    public Grid sideBySide(int n) {
        return new Grid(x, n, z, threads, shared);
    }

    public Grid withShared(long bytes) {
        return new Grid(x, y, z, threads, Math.toIntExact(bytes));
    }
}
