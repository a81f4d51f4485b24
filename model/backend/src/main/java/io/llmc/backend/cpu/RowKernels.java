// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// Moves rows and columns: embeddings, experts, permutations.
final class RowKernels {
    private final Workers workers;

    RowKernels(Workers workers) {
        this.workers = workers;
    }

    void embed(Tensor out, Tensor ids, Tensor table, float scale) {
        int cols = Math.toIntExact(out.cols());
        MemorySegment outs = out.bytes();
        MemorySegment idBytes = ids.bytes();
        MemorySegment rows = table.bytes();
        workers.forEachRow(
                out.rows(),
                cols,
                (t, scratch) -> {
                    float[] a = scratch.floats(0, cols);
                    long id = idBytes.get(I32, 4 * t);
                    Lanes.read(a, 0, rows, table.dtype(), id * cols, cols);
                    for (int i = 0; i < cols; i++) {
                        a[i] *= scale;
                    }
                    Lanes.write(outs, DType.F32, t * cols, a, 0, cols);
                });
    }

    void columns(Tensor out, Tensor x, long from) {
        long cols = out.cols();
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        workers.forEachRow(
                out.rows(),
                cols,
                (r, _) ->
                        MemorySegment.copy(
                                xs, 4 * (r * x.cols() + from), outs, 4 * r * cols, 4 * cols));
    }

    void putColumns(Tensor out, Tensor x, long from) {
        long cols = x.cols();
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        workers.forEachRow(
                x.rows(),
                cols,
                (r, _) ->
                        MemorySegment.copy(
                                xs, 4 * r * cols, outs, 4 * (r * out.cols() + from), 4 * cols));
    }

    void gather(Tensor out, Tensor x, Tensor rows) {
        long bytes = out.cols() * out.dtype().bytes();
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        MemorySegment index = rows.bytes();
        workers.forEachRow(
                out.rows(),
                out.cols(),
                (r, _) ->
                        MemorySegment.copy(
                                xs, index.get(I32, 4 * r) * bytes, outs, r * bytes, bytes));
    }

    /// A tile is a range of columns, so that rows that name the same sum are added in their order.
    void accumulateRows(Tensor sum, Tensor x, Tensor rows, Tensor weights, float factor) {
        int width = 256;
        long cols = x.cols();
        MemorySegment sums = sum.bytes();
        MemorySegment xs = x.bytes();
        MemorySegment index = rows.bytes();
        MemorySegment factors = weights == null ? null : weights.bytes();
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(cols, (long) width)),
                tile -> {
                    long first = (long) tile * width;
                    long last = Math.min(cols, first + width);
                    for (long r = 0; r < x.rows(); r++) {
                        float f = factor * (factors == null ? 1 : factors.get(F32, 4 * r));
                        long to = index.get(I32, 4 * r) * cols;
                        for (long c = first; c < last; c++) {
                            long at = 4 * (to + c);
                            float v = xs.get(F32, 4 * (r * cols + c));
                            sums.set(F32, at, Math.fma(f, v, sums.get(F32, at)));
                        }
                    }
                });
    }

    void gatherSymmetric(Tensor out, Tensor h, Tensor order) {
        int[] index = order.bytes().toArray(I32);
        int n = Math.toIntExact(h.cols());
        MemorySegment outs = out.bytes();
        MemorySegment hs = h.bytes();
        workers.forEachRow(
                out.rows(),
                n,
                (r, scratch) -> gatherRow(outs, r, hs, index[(int) r], n, index, scratch));
    }

    void gatherColumns(Tensor out, Tensor x, Tensor order) {
        int cols = Math.toIntExact(x.cols());
        int[] index = order.bytes().toArray(I32);
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        int size = x.dtype().bytes();
        workers.forEachRow(
                x.rows(),
                cols,
                (r, scratch) -> {
                    if (x.dtype() == DType.F32) {
                        gatherRow(outs, r, xs, r, cols, index, scratch);
                        return;
                    }
                    long to = r * index.length * size;
                    for (int i : index) {
                        MemorySegment.copy(xs, (r * cols + i) * size, outs, to, size);
                        to += size;
                    }
                });
    }

    /// @param cols of x
    private static void gatherRow(
            MemorySegment out,
            long to,
            MemorySegment x,
            long from,
            int cols,
            int[] index,
            Scratch scratch) {
        int n = index.length;
        float[] row = scratch.floats(0, cols);
        float[] moved = scratch.floats(1, n);
        Lanes.read(row, 0, x, DType.F32, from * cols, cols);
        for (int i = 0; i < n; i++) {
            moved[i] = row[index[i]];
        }
        Lanes.write(out, DType.F32, to * n, moved, 0, n);
    }

    /// Tile by tile, so that both sides stay in the first cache.
    void transpose(Tensor out, Tensor x) {
        int side = 32;
        long rows = x.rows();
        long cols = x.cols();
        MemorySegment outs = out.bytes();
        MemorySegment xs = x.bytes();
        workers.forEach(
                Math.toIntExact(Math.ceilDiv(rows, (long) side)),
                tile -> {
                    long r1 = Math.min(rows, (tile + 1L) * side);
                    for (long c0 = 0; c0 < cols; c0 += side) {
                        for (long r = (long) tile * side; r < r1; r++) {
                            for (long c = c0; c < Math.min(cols, c0 + side); c++) {
                                outs.set(F32, 4 * (c * rows + r), xs.get(F32, 4 * (r * cols + c)));
                            }
                        }
                    }
                });
    }

    void diagonal(Tensor out, Tensor h) {
        MemorySegment outs = out.bytes();
        MemorySegment hs = h.bytes();
        for (long i = 0; i < h.rows(); i++) {
            outs.set(F32, 4 * i, hs.get(F32, 4 * i * (h.rows() + 1)));
        }
    }

    void shrinkCorrelations(Tensor out, Tensor h, float factor) {
        int n = Math.toIntExact(h.rows());
        workers.forEachRow(
                n,
                n,
                (r, scratch) -> {
                    float[] row = scratch.floats(0, Lanes.padded(n));
                    Lanes.read(row, 0, h.bytes(), DType.F32, r * n, n);
                    float own = row[(int) r];
                    for (int i = 0; i < n; i += N) {
                        FloatVector.fromArray(F, row, i).mul(factor).intoArray(row, i);
                    }
                    row[(int) r] = own;
                    Lanes.write(out.bytes(), DType.F32, r * n, row, 0, n);
                });
    }
}
