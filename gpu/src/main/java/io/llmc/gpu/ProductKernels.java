// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.Op;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Locale;

/// Matrix products: with weights on tensor cores (`terms.cuh`), of F32 matrices on F32 units
/// (`simt.cuh`). Which kernel does a product is chosen here and nowhere else; the choice changes no
/// bit where the contract says so.
final class ProductKernels {
    /// Bf16 terms of an activation: three hold all of F32.
    private static final int TERMS = 3;

    /// Up to as many rows go through the tile of few rows.
    private static final long FEW = 32;

    /// With fewer tiles of 128 x 128 than this, smaller ones keep more of a device busy.
    private static final long MANY_TILES = 100;

    private final Kernels products;
    private final Kernels dense;
    private final Kernels packed;

    ProductKernels(Gpu gpu) {
        products = new Kernels(gpu, "products");
        dense = new Kernels(gpu, "dense");
        packed = new Kernels(gpu, "packed");
    }

    /// What a block makes of a product on tensor cores: `Tiling` in terms.cuh.
    private enum Tile {
        LARGE("", 128, 128, 32, 256),
        FEW_ROWS("_few", 16, 32, 128, 128);

        final String suffix;
        final int rows;
        final int cols;
        final int depth;
        final int threads;

        Tile(String suffix, int rows, int cols, int depth, int threads) {
            this.suffix = suffix;
            this.rows = rows;
            this.cols = cols;
            this.depth = depth;
            this.threads = threads;
        }

        Grid grid(long m, long n, int weightTerms) {
            long stage = 2L * depth * (3 * rows + weightTerms * cols);
            return Grid.blocks(Math.ceilDiv(m, rows), Math.ceilDiv(n, cols), threads)
                    .withShared(2 * stage);
        }
    }

    void matmul(Tensor out, Tensor x, Weight w) {
        Tile tile = x.rows() <= FEW ? Tile.FEW_ROWS : Tile.LARGE;
        onTensorCores("", tile, out, x, w);
    }

    void matmulInput(Tensor dx, Tensor dout, Weight w) {
        if (w instanceof Weight.Dense(Tensor values) && values.dtype() == DType.F32) {
            long in = dx.cols();
            onFloatUnits(
                    "nn", dx, 0, in, dout, dout.cols(), values, 0, dx.rows(), in, dout.cols(), 1);
        } else {
            onTensorCores("input_", Tile.LARGE, dx, dout, w);
        }
    }

    void outer(Tensor dw, Tensor dout, Tensor x) {
        long m = dw.rows();
        long n = dw.cols();
        onFloatUnits("tn", dw, 0, n, dout, m, x, 0, m, n, x.rows(), 1);
    }

    void gram(Tensor h, Tensor x, float scale) {
        int n = Math.toIntExact(x.cols());
        int rows = Math.toIntExact(x.rows());
        if (rows == 0) {
            return;
        }
        long large = triangle(n, 128);
        if (large >= MANY_TILES) {
            products.launch("gram", Grid.blocks(large, 256), h, x, n, rows, scale);
        } else {
            products.launch("gram_small", Grid.blocks(triangle(n, 64), 256), h, x, n, rows, scale);
        }
    }

    private static long triangle(long n, long tile) {
        long side = Math.ceilDiv(n, tile);
        return side * (side + 1) / 2;
    }

    void spread(Op.AccumulateObsSpread op) {
        long cols = op.w().cols();
        onFloatUnits(
                "nn",
                op.w(),
                op.to(),
                cols,
                op.errors(),
                op.errors().cols(),
                op.u(),
                op.from() * cols + op.to(),
                op.w().rows(),
                cols - op.to(),
                op.to() - op.from(),
                -1);
    }

    /// `out[m,n] = x[m,k] w[n,k]^T`, or `out[m,n] += x[m,k] w[k,n]` of kind `input_`.
    private void onTensorCores(String kind, Tile tile, Tensor out, Tensor x, Weight w) {
        int m = Math.toIntExact(out.rows());
        int n = Math.toIntExact(out.cols());
        int k = Math.toIntExact(x.cols());
        DType type =
                switch (w) {
                    case Weight.Dense(Tensor values) -> values.dtype();
                    case Weight.Grouped g -> g.scales().dtype();
                };
        int weightTerms = type == DType.F32 ? 3 : type == DType.F16 ? 2 : 1;
        Grid grid = tile.grid(m, n, weightTerms);
        String name = kind + type.name().toLowerCase(Locale.ROOT) + tile.suffix;
        switch (w) {
            case Weight.Dense(Tensor values) ->
                    dense.launch("product_" + name, grid, out, x, values, m, n, k, TERMS);
            case Weight.Grouped g ->
                    packed.launch(
                            "packed_" + name,
                            grid,
                            out,
                            x,
                            g.codes(),
                            g.scales(),
                            g.zeros(),
                            g.groupIndex(),
                            g.spec().bits(),
                            Math.toIntExact(g.codes().cols()),
                            Math.toIntExact(g.spec().groupLength(g.inFeatures())),
                            Math.toIntExact(g.scales().cols()),
                            m,
                            n,
                            k,
                            TERMS);
        }
    }

    /// `c[m,n] += alpha a b`, b `[k,n]`, a `[m,k]` ("nn") or `[k,m]` ("tn").
    ///
    /// @param cFrom the element where c begins; b has the pitch of c
    private void onFloatUnits(
            String layout,
            Tensor c,
            long cFrom,
            long pitch,
            Tensor a,
            long aPitch,
            Tensor b,
            long bFrom,
            long m,
            long n,
            long k,
            float alpha) {
        boolean large = Math.ceilDiv(m, 128L) * Math.ceilDiv(n, 128L) >= MANY_TILES;
        long tile = large ? 128 : 64;
        products.launch(
                "accumulate_" + layout + (large ? "" : "_small"),
                Grid.blocks(Math.ceilDiv(m, tile), Math.ceilDiv(n, tile), 256),
                CudaBuffer.address(c) + 4 * cFrom,
                pitch,
                a,
                aPitch,
                CudaBuffer.address(b) + 4 * bFrom,
                pitch,
                Math.toIntExact(m),
                Math.toIntExact(n),
                Math.toIntExact(k),
                alpha,
                1);
    }
}
