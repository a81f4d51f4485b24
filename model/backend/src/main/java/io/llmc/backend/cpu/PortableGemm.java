// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.nio.ByteOrder;
import jdk.incubator.vector.FloatVector;

/// Matrix products in the Vector API.
///
/// Every element is `sum over chunks of 256 k, in order, of (alpha * one chain of fused
/// multiply-adds from zero)`, whatever the shapes, the tiles and the vectors are: a row of a large
/// product has the same bits as that row alone, on any CPU.
final class PortableGemm implements Gemm {
    /// Rows of a register tile. The compiler loads all of a step's rows before it uses them, so
    /// sums, two vectors of columns and a vector for each row must fit the registers: 14 of AVX2's
    /// 16, or 26 of the 32 that AVX-512 and NEON have. (Six rows on AVX2 spill, at less than half
    /// the speed.)
    static final int MR = N == 8 ? 4 : 8;

    static final int NR = 2 * N;

    /// k of a chunk: a panel of columns and one of rows stay in the first cache.
    static final int KC = 256;

    /// Rows packed at once; bounds the scratch. They stream past a panel of columns, which is
    /// packed once for all of them.
    private static final int SUPER = 1024;

    /// Rows of a tile, nearly, at least.
    private static final int BLOCK = 128;

    /// Tiles for each thread, at least: those of a triangle have unequal work.
    private static final int JOBS = 4;

    /// Rows of a tile of packing: whole panels on every CPU.
    private static final int PACKED = 64;

    /// Columns of a tile: whole panels on every CPU.
    private static final int COLUMNS = 96;

    private final Workers workers;

    PortableGemm(Workers workers) {
        this.workers = workers;
    }

    @Override
    public String name() {
        return "Vector API, %d bits".formatted(F.vectorBitSize());
    }

    @Override
    public void multiply(Product p) {
        Scratch shared = workers.borrow();
        for (int i0 = 0; i0 < p.m(); i0 += SUPER) {
            multiply(p, i0, Math.min(SUPER, p.m() - i0), shared);
        }
        workers.giveBack(shared);
    }

    /// Rows `[i0, i0 + rows)`.
    private void multiply(Product p, int i0, int rows, Scratch shared) {
        int panels = Math.ceilDiv(rows, MR);
        float[] a = shared.floats(1, panels * MR * p.k());
        workers.forEach(
                Math.ceilDiv(rows, PACKED),
                (tile, scratch) -> {
                    int first = tile * PACKED;
                    int count = Math.min(PACKED, rows - first);
                    for (int k0 = 0; k0 < p.k(); k0 += KC) {
                        int n = Math.min(KC, p.k() - k0);
                        int at = k0 * panels * MR + first * n;
                        p.a().pack(a, at, MR, i0 + first, count, k0, n, scratch);
                    }
                });
        int columnTiles = Math.ceilDiv(p.n(), COLUMNS);
        // How rows are divided changes no bit.
        int wanted = Math.ceilDiv(JOBS * workers.threads(), columnTiles);
        int blocks = Math.clamp(wanted, 1, Math.ceilDiv(rows, BLOCK));
        int perBlock = Math.ceilDiv(panels, blocks);
        workers.forEach(
                columnTiles * blocks,
                (tile, scratch) -> {
                    int first = tile % blocks * perBlock;
                    int last = Math.min(panels, first + perBlock);
                    int j0 = tile / blocks * COLUMNS;
                    if (first < last && !(p.part() == Product.Part.LOWER && j0 >= i0 + last * MR)) {
                        int end = Math.min(p.n(), j0 + COLUMNS);
                        new Tile(p, i0, rows, panels, first, last, j0, end, a).run(scratch);
                    }
                });
    }

    /// A rectangle of c, held in registers' order until its sums are whole.
    ///
    /// @param i0 row of c that is the first packed one
    /// @param rows packed rows, as `panels` panels in `a`
    /// @param first, last panels of this tile
    /// @param j0, end columns of this tile
    private record Tile(
            Product p,
            int i0,
            int rows,
            int panels,
            int first,
            int last,
            int j0,
            int end,
            float[] a) {

        void run(Scratch scratch) {
            float[] sums = scratch.floats(4, (last - first) * Math.ceilDiv(end - j0, NR) * MR * NR);
            if (p.accumulate()) {
                move(sums, true);
            }
            // Along k, so that the prefetchers find the columns' streams again.
            for (int j = j0; j < end; j += NR) {
                for (int k0 = 0; k0 < p.k(); k0 += KC) {
                    chunk(sums, j, k0, scratch);
                }
            }
            move(sums, false);
        }

        /// The first panel of rows that is wanted beside column j.
        private int from(int j) {
            return p.part() == Product.Part.LOWER ? Math.max(first, (j - i0) / MR) : first;
        }

        private int at(int q, int j) {
            return ((j - j0) / NR * (last - first) + q - first) * MR * NR;
        }

        /// What a chunk's sums count as. Panels of columns lie in one chunk each.
        private float alpha(int j, int k0) {
            if (p.part() != Product.Part.FORM) {
                return p.alpha();
            }
            int own = j / KC * KC;
            return k0 < own ? 2 * p.alpha() : k0 == own ? p.alpha() : 0;
        }

        /// All rows times one panel of columns, over one chunk of k.
        private void chunk(float[] sums, int j, int k0, Scratch scratch) {
            float alpha = alpha(j, k0);
            if (from(j) >= last || alpha == 0) {
                return;
            }
            float[] b = scratch.floats(3, KC * NR);
            float[] sum = scratch.floats(2, MR * NR);
            int n = Math.min(KC, p.k() - k0);
            p.b().pack(b, 0, NR, j, Math.min(NR, end - j), k0, n, scratch);
            boolean add = p.accumulate() || k0 > 0;
            for (int q = from(j); q < last; q++) {
                int ao = k0 * panels * MR + q * MR * n;
                if (!add && alpha == 1) {
                    kernel(sums, at(q, j), a, ao, b, 0, n);
                } else {
                    kernel(sum, 0, a, ao, b, 0, n);
                    add(sums, at(q, j), sum, alpha, add);
                }
            }
        }

        private static void add(float[] sums, int at, float[] sum, float alpha, boolean add) {
            for (int i = 0; i < MR * NR; i += N) {
                FloatVector s = FloatVector.fromArray(F, sum, i);
                FloatVector v =
                        add
                                ? s.fma(
                                        FloatVector.broadcast(F, alpha),
                                        FloatVector.fromArray(F, sums, at + i))
                                : s.mul(alpha);
                v.intoArray(sums, at + i);
            }
        }

        /// From c to the sums, or back.
        private void move(float[] sums, boolean load) {
            for (int j = j0; j < end; j += NR) {
                int columns = Math.min(NR, end - j);
                for (int q = from(j); q < last; q++) {
                    int count = Math.min(MR, rows - q * MR);
                    for (int i = 0; i < count; i++) {
                        long c = p.from() + (i0 + q * MR + i) * p.stride() + j;
                        if (load) {
                            Lanes.read(sums, at(q, j) + i * NR, p.c(), DType.F32, c, columns);
                        } else {
                            store(p.c(), c, sums, at(q, j) + i * NR, columns);
                        }
                    }
                }
            }
        }

        private static void store(MemorySegment c, long to, float[] sums, int at, int columns) {
            int j = 0;
            for (; j <= columns - N; j += N) {
                FloatVector.fromArray(F, sums, at + j)
                        .intoMemorySegment(c, 4 * (to + j), ByteOrder.LITTLE_ENDIAN);
            }
            for (; j < columns; j++) {
                c.set(F32, 4 * (to + j), sums[at + j]);
            }
        }
    }

    /// `c[co + i * NR + j] = sum_k a[ao + k * MR + i] * b[bo + k * NR + j]`, a chain from zero.
    static void kernel(float[] c, int co, float[] a, int ao, float[] b, int bo, int n) {
        if (MR == 4) {
            kernel4(c, co, a, ao, b, bo, n);
        } else {
            kernel8(c, co, a, ao, b, bo, n);
        }
    }

    static void kernel4(float[] c, int co, float[] a, int ao, float[] b, int bo, int n) {
        FloatVector c00 = FloatVector.zero(F);
        FloatVector c01 = c00;
        FloatVector c10 = c00;
        FloatVector c11 = c00;
        FloatVector c20 = c00;
        FloatVector c21 = c00;
        FloatVector c30 = c00;
        FloatVector c31 = c00;
        for (int k = 0; k < n; k++) {
            FloatVector b0 = FloatVector.fromArray(F, b, bo + k * NR);
            FloatVector b1 = FloatVector.fromArray(F, b, bo + k * NR + N);
            int i = ao + k * 4;
            FloatVector x = FloatVector.broadcast(F, a[i]);
            c00 = x.fma(b0, c00);
            c01 = x.fma(b1, c01);
            x = FloatVector.broadcast(F, a[i + 1]);
            c10 = x.fma(b0, c10);
            c11 = x.fma(b1, c11);
            x = FloatVector.broadcast(F, a[i + 2]);
            c20 = x.fma(b0, c20);
            c21 = x.fma(b1, c21);
            x = FloatVector.broadcast(F, a[i + 3]);
            c30 = x.fma(b0, c30);
            c31 = x.fma(b1, c31);
        }
        c00.intoArray(c, co);
        c01.intoArray(c, co + N);
        c10.intoArray(c, co + NR);
        c11.intoArray(c, co + NR + N);
        c20.intoArray(c, co + 2 * NR);
        c21.intoArray(c, co + 2 * NR + N);
        c30.intoArray(c, co + 3 * NR);
        c31.intoArray(c, co + 3 * NR + N);
    }

    static void kernel8(float[] c, int co, float[] a, int ao, float[] b, int bo, int n) {
        FloatVector c00 = FloatVector.zero(F);
        FloatVector c01 = c00;
        FloatVector c10 = c00;
        FloatVector c11 = c00;
        FloatVector c20 = c00;
        FloatVector c21 = c00;
        FloatVector c30 = c00;
        FloatVector c31 = c00;
        FloatVector c40 = c00;
        FloatVector c41 = c00;
        FloatVector c50 = c00;
        FloatVector c51 = c00;
        FloatVector c60 = c00;
        FloatVector c61 = c00;
        FloatVector c70 = c00;
        FloatVector c71 = c00;
        for (int k = 0; k < n; k++) {
            FloatVector b0 = FloatVector.fromArray(F, b, bo + k * NR);
            FloatVector b1 = FloatVector.fromArray(F, b, bo + k * NR + N);
            int i = ao + k * 8;
            FloatVector x = FloatVector.broadcast(F, a[i]);
            c00 = x.fma(b0, c00);
            c01 = x.fma(b1, c01);
            x = FloatVector.broadcast(F, a[i + 1]);
            c10 = x.fma(b0, c10);
            c11 = x.fma(b1, c11);
            x = FloatVector.broadcast(F, a[i + 2]);
            c20 = x.fma(b0, c20);
            c21 = x.fma(b1, c21);
            x = FloatVector.broadcast(F, a[i + 3]);
            c30 = x.fma(b0, c30);
            c31 = x.fma(b1, c31);
            x = FloatVector.broadcast(F, a[i + 4]);
            c40 = x.fma(b0, c40);
            c41 = x.fma(b1, c41);
            x = FloatVector.broadcast(F, a[i + 5]);
            c50 = x.fma(b0, c50);
            c51 = x.fma(b1, c51);
            x = FloatVector.broadcast(F, a[i + 6]);
            c60 = x.fma(b0, c60);
            c61 = x.fma(b1, c61);
            x = FloatVector.broadcast(F, a[i + 7]);
            c70 = x.fma(b0, c70);
            c71 = x.fma(b1, c71);
        }
        c00.intoArray(c, co);
        c01.intoArray(c, co + N);
        c10.intoArray(c, co + NR);
        c11.intoArray(c, co + NR + N);
        c20.intoArray(c, co + 2 * NR);
        c21.intoArray(c, co + 2 * NR + N);
        c30.intoArray(c, co + 3 * NR);
        c31.intoArray(c, co + 3 * NR + N);
        c40.intoArray(c, co + 4 * NR);
        c41.intoArray(c, co + 4 * NR + N);
        c50.intoArray(c, co + 5 * NR);
        c51.intoArray(c, co + 5 * NR + N);
        c60.intoArray(c, co + 6 * NR);
        c61.intoArray(c, co + 6 * NR + N);
        c70.intoArray(c, co + 7 * NR);
        c71.intoArray(c, co + 7 * NR + N);
    }
}
