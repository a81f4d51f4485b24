// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;

/// Matrix products by oneDNN, one single-threaded call a tile.
///
/// oneDNN chooses its loops by the numbers of rows, columns and k of a call, and so do the last
/// bits of its sums. Every call therefore has [#ROWS] rows, the last ones of zeros where there are
/// fewer: a row's bits depend on the matrix that it is multiplied by, not on the rows beside it.
/// The price is that one row costs as much as [#ROWS].
final class OneDnnGemm implements Gemm {
    private static final int ROWS = 64;
    private static final int COLUMNS = 512;

    /// Most tiles of one job.
    private static final int TOGETHER = 32;

    /// Columns of a panel while they are turned, and k of a chunk of it: a second cache holds all
    /// panels of a chunk.
    private static final int WIDTH = 16;

    private static final int CHUNK = 256;

    private final Workers workers;
    private final OneDnn dnn;

    OneDnnGemm(Workers workers, OneDnn dnn) {
        this.workers = workers;
        this.dnn = dnn;
    }

    /// Bytes of one worker's scratch for products of so many terms.
    static long scratchBytes(long terms) {
        return 4 * (ROWS + COLUMNS) * terms + 4L * ROWS * COLUMNS;
    }

    /// The same for the gradients of a product: of their operands only the last tile of the first
    /// one is copied.
    static long gradientBytes(long rows, long out) {
        return 4 * ROWS * Math.max(rows, out) + 4L * ROWS * COLUMNS;
    }

    @Override
    public String name() {
        return "oneDNN " + dnn.version();
    }

    @Override
    public void multiply(Product p) {
        int rowTiles = Math.ceilDiv(p.m(), ROWS);
        int columnTiles = Math.ceilDiv(p.n(), COLUMNS);
        // Tiles one above the other share the columns, which are decoded and turned. Which tiles go
        // together changes no bit: each is a call of its own.
        int most = Math.clamp(rowTiles * columnTiles / (2L * workers.threads()), 1, TOGETHER);
        int groups = Math.ceilDiv(rowTiles, most);
        int together = Math.ceilDiv(rowTiles, groups);
        workers.forEach(
                columnTiles * groups,
                (job, scratch) -> {
                    int j0 = job / groups * COLUMNS;
                    int columns = Math.min(COLUMNS, p.n() - j0);
                    int first = job % groups * together;
                    Block b = null;
                    for (int t = first; t < Math.min(rowTiles, first + together); t++) {
                        if (p.part() != Product.Part.LOWER || j0 < t * ROWS + ROWS) {
                            if (b == null) {
                                b = columns(p.b(), j0, columns, p.k(), scratch);
                            }
                            tile(p, t * ROWS, j0, b, scratch);
                        }
                    }
                });
    }

    private void tile(Product p, int i0, int j0, Block b, Scratch scratch) {
        int rows = Math.min(ROWS, p.m() - i0);
        int columns = Math.min(COLUMNS, p.n() - j0);
        if (p.part() == Product.Part.LOWER) {
            columns = Math.min(columns, i0 + ROWS - j0); // no more than reaches the diagonal
        }
        Block a = block(p.a(), i0, rows, ROWS, p.k(), 0, scratch);
        MemorySegment c = p.c().asSlice(4 * (p.from() + i0 * p.stride() + j0));
        boolean whole = rows == ROWS;
        MemorySegment to = whole ? c : scratch.bytes(2, 4L * ROWS * columns);
        long stride = whole ? p.stride() : columns;
        if (!whole && p.accumulate()) {
            copyRows(to, columns, c, p.stride(), rows, columns);
        }
        var target = new Target(to, stride, columns);
        if (p.part() == Product.Part.FORM) {
            terms(target, a, b, j0, columns, p.alpha(), 0);
            terms(target, a, b, 0, j0, 2 * p.alpha(), 1);
        } else if (p.accumulate()) {
            // Sums that go on in another call go on at whole chunks here too.
            for (int k0 = 0; k0 < p.k(); k0 += PortableGemm.KC) {
                int n = Math.min(PortableGemm.KC, p.k() - k0);
                terms(target, a, b, k0, n, p.alpha(), 1);
            }
        } else {
            terms(target, a, b, 0, p.k(), p.alpha(), 0);
        }
        if (!whole) {
            copyRows(c, p.stride(), to, columns, rows, columns);
        }
    }

    /// [#ROWS] rows of sums.
    private record Target(MemorySegment bytes, long stride, int columns) {}

    /// Sums over `[k0, k0 + n)`, added to `beta` of what is there.
    private void terms(Target c, Block a, Block b, int k0, int n, float alpha, float beta) {
        if (n > 0) {
            dnn.sgemm(
                    a.transposed,
                    !b.transposed,
                    ROWS,
                    c.columns,
                    n,
                    alpha,
                    a.from(k0),
                    a.stride,
                    b.from(k0),
                    b.stride,
                    beta,
                    c.bytes,
                    c.stride);
        }
    }

    private static void copyRows(
            MemorySegment dst, long dstStride, MemorySegment src, long srcStride, int rows, int n) {
        for (int i = 0; i < rows; i++) {
            MemorySegment.copy(src, 4 * i * srcStride, dst, 4 * i * dstStride, 4L * n);
        }
    }

    /// Rows of an operand in F32, each contiguous unless transposed.
    private record Block(MemorySegment bytes, long stride, boolean transposed) {
        MemorySegment from(int k) {
            return bytes.asSlice(4 * (transposed ? k * stride : k));
        }
    }

    /// Columns of the product with k outermost. A call of so few rows would otherwise take longer
    /// to turn them for itself than to multiply them.
    private static Block columns(Operand o, int first, int count, int k, Scratch scratch) {
        if (o instanceof Operand.Columns) {
            return block(o, first, count, count, k, 1, scratch);
        }
        int panels = Math.ceilDiv(count, WIDTH);
        int stride = panels * WIDTH;
        MemorySegment turned = scratch.bytes(1, 4L * stride * k);
        float[] chunk = scratch.floats(7, stride * CHUNK);
        for (int k0 = 0; k0 < k; k0 += CHUNK) {
            int n = Math.min(CHUNK, k - k0);
            o.pack(chunk, 0, WIDTH, first, count, k0, n, scratch);
            Panels.join(turned, (long) k0 * stride, chunk, WIDTH, panels, n);
        }
        return new Block(turned, stride, true);
    }

    /// Rows `[first, first + count)`, then zeros up to `all`; in place where the operand is F32 and
    /// has them all, and lies in no mapped file: such a file may become shorter, and then it is the
    /// end of the process to read it in native code.
    private static Block block(
            Operand o, int first, int count, int all, int k, int slot, Scratch scratch) {
        if (count == all && o instanceof Operand.Columns(var bytes, long from, long stride)) {
            if (!bytes.isMapped()) {
                return new Block(bytes.asSlice(4 * (from + first)), stride, true);
            }
            MemorySegment copy = scratch.bytes(slot, 4L * count * k);
            copyRows(copy, count, bytes.asSlice(4 * (from + first)), stride, k, count);
            return new Block(copy, count, true);
        }
        if (count == all
                && o instanceof Operand.Rows(var bytes, var type, long from, long stride)
                && type == DType.F32
                && !bytes.isMapped()) {
            return new Block(bytes.asSlice(4 * (from + first * stride)), stride, false);
        }
        MemorySegment copy = scratch.bytes(slot, 4L * all * k);
        float[] row = scratch.floats(6, Lanes.padded(k));
        for (int i = 0; i < count; i++) {
            o.read(row, 0, first + i, 0, k, scratch);
            MemorySegment.copy(row, 0, copy, Lanes.F32, 4L * i * k, k);
        }
        copy.asSlice(4L * count * k, 4L * (all - count) * k).fill((byte) 0);
        return new Block(copy, k, false);
    }
}
