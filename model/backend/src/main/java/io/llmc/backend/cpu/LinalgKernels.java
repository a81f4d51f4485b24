// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.F64;

import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.function.Supplier;

/// Statistics and forms over matrix products.
final class LinalgKernels {
    /// Side of a block that is mirrored at once.
    private static final int BLOCK = 64;

    /// Rows of e whose product with h is held at once.
    private static final int ROWS = 256;

    private final Workers workers;
    private final Supplier<Gemm> products;

    /// @param products asked for at the first of them
    LinalgKernels(Workers workers, Supplier<Gemm> products) {
        this.workers = workers;
        this.products = products;
    }

    /// The lower triangle is computed and mirrored. Rows are summed in chunks of 256, and a chunk
    /// added to h: calls whose rows are multiples of 256 may be joined or split without changing a
    /// bit.
    void accumulateGram(Tensor h, Tensor x, float scale) {
        int n = Math.toIntExact(x.cols());
        MemorySegment hs = h.bytes();
        Operand columns = Operand.transposed(x);
        products.get()
                .multiply(
                        new Product(
                                hs,
                                0,
                                n,
                                n,
                                n,
                                Math.toIntExact(x.rows()),
                                columns,
                                columns,
                                scale,
                                true,
                                Product.Part.LOWER));
        workers.forEach(
                Math.ceilDiv(n, BLOCK),
                (tile, scratch) -> {
                    int i1 = Math.min(n, (tile + 1) * BLOCK);
                    float[] block = scratch.floats(0, BLOCK * BLOCK);
                    for (int j0 = tile * BLOCK; j0 < n; j0 += BLOCK) {
                        mirror(hs, n, tile * BLOCK, i1, j0, Math.min(n, j0 + BLOCK), block);
                    }
                });
    }

    /// `h[i,j] = h[j,i]` for i in `[i0, i1)`, j in `[j0, j1)` and `j > i`.
    private static void mirror(
            MemorySegment h, long n, int i0, int i1, int j0, int j1, float[] block) {
        for (int j = j0; j < j1; j++) {
            Lanes.read(block, (j - j0) * BLOCK, h, DType.F32, j * n + i0, i1 - i0);
        }
        for (int i = i0; i < i1; i++) {
            for (int j = Math.max(j0, i + 1); j < j1; j++) {
                h.set(F32, 4 * (i * n + j), block[(j - j0) * BLOCK + i - i0]);
            }
        }
    }

    void quadraticForm(Tensor out, Tensor e, Tensor h) {
        int n = Math.toIntExact(e.cols());
        MemorySegment outs = out.bytes();
        MemorySegment es = e.bytes();
        Scratch own = workers.borrow();
        try {
            MemorySegment product = own.bytes(0, 4L * ROWS * n);
            for (long r0 = 0; r0 < e.rows(); r0 += ROWS) {
                int rows = (int) Math.min(ROWS, e.rows() - r0);
                long first = r0;
                products.get()
                        .multiply(
                                new Product(
                                        product,
                                        0,
                                        n,
                                        rows,
                                        n,
                                        n,
                                        new Operand.Rows(es, DType.F32, r0 * n, n),
                                        Operand.transposed(h),
                                        1,
                                        false,
                                        Product.Part.FORM));
                workers.forEach(
                        rows,
                        (r, scratch) -> {
                            float[] a = scratch.floats(0, n);
                            float[] b = scratch.floats(1, n);
                            Lanes.read(a, 0, es, DType.F32, (first + r) * n, n);
                            Lanes.read(b, 0, product, DType.F32, (long) r * n, n);
                            outs.set(F64, 8 * (first + r), dot(a, b, n));
                        });
            }
        } finally {
            workers.giveBack(own);
        }
    }

    private static double dot(float[] a, float[] b, int n) {
        double s0 = 0;
        double s1 = 0;
        double s2 = 0;
        double s3 = 0;
        int i = 0;
        for (; i <= n - 4; i += 4) {
            s0 += (double) a[i] * b[i];
            s1 += (double) a[i + 1] * b[i + 1];
            s2 += (double) a[i + 2] * b[i + 2];
            s3 += (double) a[i + 3] * b[i + 3];
        }
        for (; i < n; i++) {
            s0 += (double) a[i] * b[i];
        }
        return (s0 + s1) + (s2 + s3);
    }
}
