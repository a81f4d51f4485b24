// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;

/// Cholesky factors and quadratic forms: `linalg.cu`.
final class LinalgKernels {
    /// Rows of a block on the diagonal.
    private static final int SIDE = 64;

    private static final int DIAGONAL_THREADS = 512;

    /// With fewer tiles of 128 x 128 than this, smaller ones keep more of a device busy.
    private static final long MANY_TILES = 100;

    /// Side of a quadratic form's tiles.
    private static final int FORM = 128;

    private final Gpu gpu;
    private final Kernels kernels;

    LinalgKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "linalg");
    }

    void choleskyInverse(Tensor u, Tensor status, Tensor h, float damp) {
        int n = Math.toIntExact(h.rows());
        kernels.launch("cholesky_reverse", Grid.blocks(n, 256), u, status, h, n, damp);
        for (int at = 0; at < n; at += SIDE) {
            kernels.launch("cholesky_diagonal", Grid.blocks(1, DIAGONAL_THREADS), u, status, n, at);
            int rest = n - at - SIDE;
            if (rest > 0) {
                kernels.launch(
                        "cholesky_panel",
                        Grid.blocks(Math.ceilDiv(rest, 64), 256),
                        u,
                        status,
                        n,
                        at);
                boolean large = triangle(rest, 128) >= MANY_TILES;
                kernels.launch(
                        "cholesky_update" + (large ? "" : "_small"),
                        Grid.blocks(triangle(rest, large ? 128 : 64), 256),
                        u,
                        status,
                        n,
                        at);
            }
        }
        invert(u, status, n);
        long size = (long) n * n;
        kernels.launch("cholesky_turn", Grid.elements(size / 2), u, status, size);
    }

    private void invert(Tensor u, Tensor status, int n) {
        long most = 0;
        for (long side = SIDE; side < n; side *= 2) {
            most = Math.max(most, scratch(n, side));
        }
        if (most == 0) {
            return; // one block
        }
        try (Gpu.Scratch t = gpu.scratch(4 * most)) {
            for (int side = SIDE; side < n; side *= 2) {
                long pairs = pairs(n, side);
                long tiles = Math.ceilDiv(side, 128);
                boolean large = pairs * tiles * tiles >= MANY_TILES;
                tiles = large ? tiles : side / 64;
                Grid grid = Grid.blocks(tiles, tiles, pairs, 256);
                String suffix = large ? "" : "_small";
                kernels.launch("cholesky_invert_left" + suffix, grid, u, t, status, n, side);
                kernels.launch("cholesky_invert_right" + suffix, grid, u, t, status, n, side);
            }
        }
    }

    /// How many blocks have one below them.
    private static long pairs(long n, long side) {
        return Math.ceilDiv(n - side, 2 * side);
    }

    /// Elements of the products of all pairs; the last one may have fewer rows.
    private static long scratch(long n, long side) {
        long before = pairs(n, side) - 1;
        long last = Math.min(side, n - (2 * before + 1) * side);
        return (before * side + last) * side;
    }

    private static long triangle(long n, long tile) {
        long side = Math.ceilDiv(n, tile);
        return side * (side + 1) / 2;
    }

    void quadraticForm(Tensor out, Tensor e, Tensor h) {
        int n = Math.toIntExact(e.cols());
        int rows = Math.toIntExact(e.rows());
        int tiles = Math.ceilDiv(n, FORM);
        try (Gpu.Scratch parts = gpu.scratch(8L * rows * tiles)) {
            kernels.launch(
                    "quadratic_form",
                    Grid.blocks(Math.ceilDiv(rows, FORM), tiles, 256),
                    parts,
                    e,
                    h,
                    rows,
                    n);
            kernels.launch(
                    "quadratic_form_sum",
                    Grid.blocks(Math.ceilDiv(rows, 8), 256),
                    out,
                    parts,
                    rows,
                    tiles);
        }
    }
}
