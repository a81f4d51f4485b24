// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;

/// Products of activations rounded to bf16 with weights whose values bf16 holds, sums in F32.
///
/// As in [OneDnnGemm] every call has the same number of rows, so that a row's bits do not depend on
/// the others. A block of columns is brought into the order of the instructions once for many
/// tiles.
final class Bf16Gemm implements Gemm {
    private static final int ROWS = OneDnnBf16.ROWS;
    private static final int COLUMNS = 512;

    /// Most tiles of rows of one job.
    private static final int TOGETHER = 32;

    private final Workers workers;
    private final OneDnn dnn;
    private final OneDnnBf16 bf16;

    Bf16Gemm(Workers workers, OneDnn dnn) {
        this.workers = workers;
        this.dnn = dnn;
        this.bf16 = dnn.bf16();
    }

    @Override
    public String name() {
        return "oneDNN " + dnn.version() + " in bf16";
    }

    @Override
    public void multiply(Product p) {
        Scratch shared = workers.borrow();
        int rowTiles = Math.ceilDiv(p.m(), ROWS);
        int columnTiles = Math.ceilDiv(p.n(), COLUMNS);
        MemorySegment a = shared.bytes(3, 2L * rowTiles * ROWS * p.k());
        workers.forEach(rowTiles, (tile, scratch) -> narrow(p, tile, a, scratch));
        int together = Math.clamp(rowTiles * columnTiles / (4L * workers.threads()), 1, TOGETHER);
        int groups = Math.ceilDiv(rowTiles, together);
        workers.forEach(
                columnTiles * groups,
                (job, scratch) -> {
                    int first = job % groups * together;
                    int last = Math.min(rowTiles, first + together);
                    columns(p, job / groups * COLUMNS, first, last, a, scratch);
                });
        workers.giveBack(shared);
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
        bf16.kernel(Math.min(COLUMNS, p.n()), p.k()).narrow(from, to.asSlice(tile * block, block));
    }

    private void columns(
            Product p, int j0, int firstTile, int lastTile, MemorySegment a, Scratch scratch) {
        dnn.useOneThread();
        int n = Math.min(COLUMNS, p.n() - j0);
        OneDnnBf16.Kernel kernel = bf16.kernel(n, p.k());
        MemorySegment b = scratch.bytes(1, kernel.arrangedBytes());
        kernel.arrange(stored(p, j0, n, scratch), b);
        MemorySegment c = scratch.bytes(2, 4L * ROWS * n);
        for (int tile = firstTile; tile < lastTile; tile++) {
            long block = 2L * ROWS * p.k();
            kernel.multiply(a.asSlice(tile * block, block), b, c);
            int rows = Math.min(ROWS, p.m() - tile * ROWS);
            for (int i = 0; i < rows; i++) {
                long row = p.from() + ((long) tile * ROWS + i) * p.stride() + j0;
                MemorySegment.copy(c, 4L * i * n, p.c(), 4 * row, 4L * n);
            }
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
