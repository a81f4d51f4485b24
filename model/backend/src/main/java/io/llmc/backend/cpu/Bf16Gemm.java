// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;

/// Products of activations rounded to bf16 with weights whose values bf16 holds, sums in F32.
///
/// As in [OneDnnGemm] every call has the same number of rows, so that a row's bits do not depend on
/// the others. Activations are rounded once, and columns brought into the order of the instructions
/// once, some at a time.
final class Bf16Gemm implements Gemm {
    private static final int ROWS = OneDnnBf16.ROWS;
    private static final int COLUMNS = 512;

    /// Blocks of columns that are in the order of the instructions at a time: bounds the memory.
    private static final int BLOCKS = 8;

    private final Workers workers;
    private final OneDnn dnn;
    private final OneDnnBf16 bf16;

    Bf16Gemm(Workers workers, OneDnn dnn) {
        this.workers = workers;
        this.dnn = dnn;
        this.bf16 = dnn.bf16();
    }

    /// Bytes of all workers' scratch for a product: rows in bf16, columns arranged, and what each
    /// worker copies.
    static long scratchBytes(long rows, long out, long in, int threads) {
        long shared = 2 * (rows + ROWS) * in + 2L * (BLOCKS + 1) * COLUMNS * (in + 64);
        long own = 4 * ROWS * in + 4 * ROWS * out + 4L * ROWS * COLUMNS + 2L * COLUMNS * in;
        return shared + own * threads;
    }

    @Override
    public String name() {
        return "oneDNN " + dnn.version() + " in bf16";
    }

    @Override
    public void multiply(Product p) {
        Scratch shared = workers.borrow();
        int rowTiles = Math.ceilDiv(p.m(), ROWS);
        MemorySegment a = shared.bytes(3, 2L * rowTiles * ROWS * p.k());
        workers.forEach(rowTiles, (tile, scratch) -> narrow(p, tile, a, scratch));
        for (int from = 0; from < p.n(); from += BLOCKS * COLUMNS) {
            int j0 = from;
            int blocks = Math.ceilDiv(Math.min(BLOCKS * COLUMNS, p.n() - from), COLUMNS);
            long bytes = kernel(p, j0).arrangedBytes();
            MemorySegment b = shared.bytes(2, blocks * bytes);
            workers.forEach(
                    blocks,
                    (block, scratch) ->
                            arrange(p, j0 + block * COLUMNS, b.asSlice(block * bytes), scratch));
            workers.forEach(
                    blocks * rowTiles,
                    (job, scratch) -> {
                        int block = job / rowTiles;
                        int tile = job % rowTiles;
                        int column = j0 + block * COLUMNS;
                        tile(p, tile, column, a, b.asSlice(block * bytes), scratch);
                    });
        }
        workers.giveBack(shared);
    }

    private OneDnnBf16.Kernel kernel(Product p, int j0) {
        return bf16.kernel(Math.min(COLUMNS, p.n() - j0), p.k(), p.stride());
    }

    /// A tile's rows as bf16, zeros after the last one.
    private void narrow(Product p, int tile, MemorySegment to, Scratch scratch) {
        dnn.useOneThread();
        int first = tile * ROWS;
        int rows = Math.min(ROWS, p.m() - first);
        Operand.Rows a = (Operand.Rows) p.a();
        MemorySegment from = a.bytes().asSlice(4 * (a.from() + first * a.stride()));
        if (rows < ROWS) {
            MemorySegment padded = scratch.bytes(0, 4L * ROWS * p.k()).fill((byte) 0);
            MemorySegment.copy(from, 0, padded, 0, 4L * rows * p.k());
            from = padded;
        }
        long block = 2L * ROWS * p.k();
        kernel(p, 0).narrow(from, to.asSlice(tile * block, block));
    }

    private void arrange(Product p, int j0, MemorySegment to, Scratch scratch) {
        dnn.useOneThread();
        int n = Math.min(COLUMNS, p.n() - j0);
        kernel(p, j0).arrange(stored(p, j0, n, scratch), to);
    }

    private void tile(
            Product p, int tile, int j0, MemorySegment a, MemorySegment b, Scratch scratch) {
        dnn.useOneThread();
        int n = Math.min(COLUMNS, p.n() - j0);
        int rows = Math.min(ROWS, p.m() - tile * ROWS);
        long block = 2L * ROWS * p.k();
        MemorySegment x = a.asSlice(tile * block, block);
        long first = 4 * (p.from() + (long) tile * ROWS * p.stride() + j0);
        if (rows == ROWS) {
            kernel(p, j0).multiply(x, b, p.c().asSlice(first));
            return;
        }
        // The same kernel, for which b is arranged: rows as far apart as the product's.
        MemorySegment c = scratch.bytes(2, 4 * ((ROWS - 1) * p.stride() + n));
        kernel(p, j0).multiply(x, b, c);
        for (int i = 0; i < rows; i++) {
            long row = 4 * i * p.stride();
            MemorySegment.copy(c, row, p.c(), first + row, 4L * n);
        }
    }

    /// Columns as bf16 rows without gaps; in place where they lie so.
    private static MemorySegment stored(Product p, int j0, int n, Scratch scratch) {
        if (p.b() instanceof Operand.Rows(var bytes, var type, long from, long stride)
                && type == DType.BF16
                && stride == p.k()) {
            return bytes.asSlice(2 * (from + j0 * stride));
        }
        MemorySegment copy = scratch.bytes(0, 2L * n * p.k());
        float[] row = scratch.floats(6, Lanes.padded(p.k()));
        for (int j = 0; j < n; j++) {
            p.b().read(row, 0, j0 + j, 0, p.k(), scratch);
            Lanes.write(copy, DType.BF16, (long) j * p.k(), row, 0, p.k());
        }
        return copy;
    }
}
