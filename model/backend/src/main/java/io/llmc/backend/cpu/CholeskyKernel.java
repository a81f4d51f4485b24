// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Product.Part.ALL;
import static io.llmc.backend.cpu.Product.Part.LOWER;

import io.llmc.backend.StatisticOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;

/// The upper Cholesky factor of a matrix's inverse.
///
/// With J the reversal of the order, `J h J = M M^T` gives `h = (J M J)(J M J)^T`, an upper times a
/// lower triangle, so `h^-1 = u^T u` with `u = (J M J)^-1 = J M^-1 J`: one Cholesky factor and one
/// triangular inverse instead of a factor, an inverse and another factor. `J A J` is the array read
/// backwards.
///
/// Both are recursive, in place, and all products of blocks: only [#LEAF] rows at a time are done
/// element by element, in double precision.
final class CholeskyKernel {
    /// Whole panels of every product, and a chunk of k at most, so that products with a leaf's
    /// inverse may be in place.
    private static final int LEAF = 48;

    private final Workers workers;
    private final Gemm inPlace;
    private final Gemm gemm;
    private final MemorySegment u;
    private final long stride;

    /// The inverses of the factor's leaves, `[n / LEAF][LEAF, LEAF]`.
    private final MemorySegment leaves;

    private final double[] block = new double[LEAF * LEAF];

    private CholeskyKernel(
            Workers workers,
            Gemm inPlace,
            Gemm gemm,
            MemorySegment u,
            long stride,
            MemorySegment leaves) {
        this.workers = workers;
        this.inPlace = inPlace;
        this.gemm = gemm;
        this.u = u;
        this.stride = stride;
        this.leaves = leaves;
    }

    /// @param inPlace of products with a leaf's inverse
    /// @param gemm of all others, whose operands lie elsewhere than their results
    static void run(
            Workers workers, PortableGemm inPlace, Gemm gemm, StatisticOp.CholeskyInverse op) {
        Tensor u = op.u();
        Tensor h = op.h();
        int n = Math.toIntExact(h.rows());
        Scratch own = workers.borrow();
        try {
            long bytes = 4L * Math.ceilDiv(n, LEAF) * LEAF * LEAF;
            MemorySegment leaves = own.bytes(0, bytes).asSlice(0, bytes).fill((byte) 0);
            var kernel = new CholeskyKernel(workers, inPlace, gemm, u.bytes(), n, leaves);
            kernel.reverse(h.bytes(), n, op.damp());
            int pivot = kernel.factor(0, n);
            if (pivot < 0) {
                kernel.invert(0, n);
                kernel.reverse(n);
            }
            op.status().bytes().set(I32, 0, pivot < 0 ? 0 : n - pivot);
        } finally {
            workers.giveBack(own);
        }
    }

    /// `u = J (h + damp I) J`, its lower triangle.
    private void reverse(MemorySegment h, int n, float damp) {
        workers.forEach(
                n,
                (i, scratch) -> {
                    float[] from = scratch.floats(0, n);
                    float[] to = scratch.floats(1, n);
                    Lanes.read(from, 0, h, DType.F32, (n - 1L - i) * n, n);
                    for (int j = 0; j <= i; j++) {
                        to[j] = from[n - 1 - j];
                    }
                    to[i] += damp;
                    Lanes.write(u, DType.F32, (long) i * n, to, 0, i + 1);
                });
    }

    /// `u = J u J`, with nothing below the diagonal.
    private void reverse(int n) {
        workers.forEach(
                Math.ceilDiv(n, 2),
                (i, scratch) -> {
                    float[] a = scratch.floats(0, n);
                    float[] b = scratch.floats(1, n);
                    int j = n - 1 - i;
                    Lanes.read(a, 0, u, DType.F32, (long) i * n, n);
                    Lanes.read(b, 0, u, DType.F32, (long) j * n, n);
                    writeReversed(i, b, n, scratch);
                    if (i != j) {
                        writeReversed(j, a, n, scratch);
                    }
                });
    }

    private void writeReversed(int row, float[] values, int n, Scratch scratch) {
        float[] to = scratch.floats(2, n);
        for (int j = 0; j < n; j++) {
            to[j] = j < row ? 0 : values[n - 1 - j];
        }
        Lanes.write(u, DType.F32, (long) row * n, to, 0, n);
    }

    /// Where to cut `n` rows: whole leaves.
    private static int half(int n) {
        return Math.ceilDiv(Math.ceilDiv(n, LEAF), 2) * LEAF;
    }

    /// The lower factor of the block at i, in place.
    ///
    /// @return the row of a pivot that is not positive, or -1
    private int factor(int i, int n) {
        if (n <= LEAF) {
            return factorLeaf(i, n);
        }
        int h = half(n);
        int pivot = factor(i, h);
        if (pivot >= 0) {
            return pivot;
        }
        divideTransposed(i + h, n - h, i, h);
        multiply(at(i + h, i + h), n - h, n - h, h, rows(i + h, i), rows(i + h, i), -1, LOWER);
        return factor(i + h, n - h);
    }

    /// `X = X L^-T`, X the rows `[r, r + m)` below the factor L at i.
    private void divideTransposed(int r, int m, int i, int n) {
        if (n <= LEAF) {
            replace(at(r, i), m, n, n, rows(r, i), leafRows(i), 1);
            return;
        }
        int h = half(n);
        divideTransposed(r, m, i, h);
        multiply(at(r, i + h), m, n - h, h, rows(r, i), rows(i + h, i), -1, ALL);
        divideTransposed(r, m, i + h, n - h);
    }

    /// The inverse of the lower triangle at i, in place: below the diagonal `-L22^-1 L21 L11^-1`.
    private void invert(int i, int n) {
        if (n <= LEAF) {
            for (int r = 0; r < n; r++) {
                MemorySegment.copy(
                        leaves, 4L * (i * LEAF + r * LEAF), u, 4 * at(i + r, i), 4L * (r + 1));
            }
            return;
        }
        int h = half(n);
        divideLeft(i + h, n - h, i, h);
        divideNegated(i + h, n - h, i, h);
        invert(i, h);
        invert(i + h, n - h);
    }

    /// `X = L^-1 X`, L the factor at i of n rows, X the columns `[c, c + m)` of these.
    private void divideLeft(int i, int n, int c, int m) {
        if (n <= LEAF) {
            replace(at(i, c), n, m, n, leafRows(i), columns(i, c), 1);
            return;
        }
        int h = half(n);
        divideLeft(i, h, c, m);
        multiply(at(i + h, c), n - h, m, h, rows(i + h, i), columns(i, c), -1, ALL);
        divideLeft(i + h, n - h, c, m);
    }

    /// `X = -X L^-1`, X the rows `[r, r + m)` below the factor L at i.
    private void divideNegated(int r, int m, int i, int n) {
        if (n <= LEAF) {
            replace(at(r, i), m, n, n, rows(r, i), leafColumns(i), -1);
            return;
        }
        int h = half(n);
        divideNegated(r, m, i + h, n - h);
        multiply(at(r, i), m, h, n - h, rows(r, i + h), columns(i + h, i), 1, ALL);
        divideNegated(r, m, i, h);
    }

    private int factorLeaf(int i, int n) {
        double[] l = block;
        for (int r = 0; r < n; r++) {
            for (int c = 0; c <= r; c++) {
                double v = u.get(F32, 4 * at(i + r, i + c));
                for (int k = 0; k < c; k++) {
                    v -= l[r * LEAF + k] * l[c * LEAF + k];
                }
                if (c < r) {
                    l[r * LEAF + c] = v / l[c * LEAF + c];
                } else if (v > 0 && v < Double.POSITIVE_INFINITY) {
                    l[r * LEAF + r] = Math.sqrt(v);
                } else {
                    return i + r;
                }
            }
        }
        for (int r = 0; r < n; r++) {
            for (int c = 0; c <= r; c++) {
                u.set(F32, 4 * at(i + r, i + c), (float) l[r * LEAF + c]);
            }
        }
        invertLeaf(i, n);
        return -1;
    }

    /// Columns of the inverse, top to bottom.
    private void invertLeaf(int i, int n) {
        double[] l = block;
        double[] x = new double[LEAF];
        for (int c = 0; c < n; c++) {
            for (int r = c; r < n; r++) {
                double v = r == c ? 1 : 0;
                for (int k = c; k < r; k++) {
                    v -= l[r * LEAF + k] * x[k];
                }
                x[r] = v / l[r * LEAF + r];
                leaves.set(F32, 4L * (i * LEAF + r * LEAF + c), (float) x[r]);
            }
        }
    }

    private long at(int row, int column) {
        return row * stride + column;
    }

    private Operand rows(int row, int column) {
        return new Operand.Rows(u, DType.F32, at(row, column), stride);
    }

    private Operand columns(int row, int column) {
        return new Operand.Columns(u, at(row, column), stride);
    }

    private Operand leafRows(int i) {
        return new Operand.Rows(leaves, DType.F32, (long) i * LEAF, LEAF);
    }

    private Operand leafColumns(int i) {
        return new Operand.Columns(leaves, (long) i * LEAF, LEAF);
    }

    /// `u[at] += alpha a b`
    private void multiply(
            long at, int m, int n, int k, Operand a, Operand b, float alpha, Product.Part part) {
        gemm.multiply(new Product(u, at, stride, m, n, k, a, b, alpha, true, part));
    }

    /// `u[at] = alpha a b`, where one of them lies at the same place.
    private void replace(long at, int m, int n, int k, Operand a, Operand b, float alpha) {
        inPlace.multiply(new Product(u, at, stride, m, n, k, a, b, alpha, false, ALL));
    }
}
