// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.BackendOptions;
import io.llmc.backend.CompressionOp;
import io.llmc.gpu.driver.Blas;
import io.llmc.gpu.driver.Blas.Factor;
import io.llmc.gpu.driver.Blas.Layout;
import io.llmc.gpu.driver.CudaBuffer;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.gpu.driver.Natives;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/// Matrix products: with weights on tensor cores (`terms.cuh`), of F32 matrices on F32 units
/// (`simt.cuh`), and through cuBLAS where that may be used and has the types. What does a product
/// is chosen here and nowhere else; with kernels of our own the choice changes no bit where the
/// contract says so.
///
/// Gram matrices are never cuBLAS's: our kernel computes one triangle, half of the products.
final class ProductKernels {
    /// Bf16 terms that hold all of an F32 activation.
    private static final int ALL_TERMS = 3;

    /// Up to as many rows go through the kernels for few rows.
    private static final long FEW = 64;

    /// Of these up to so many go through F32 units (`slim.cuh`) unless math is portable.
    private static final long SLIM = 8;

    /// Neighbours that those kernels read at a time (`RUN` in slim.cuh).
    private static final long RUN = 8;

    private static final int SLIM_THREADS = 128;

    /// Of k in shared memory at a time (`DEPTH` in terms.cuh).
    private static final int DEPTH = 32;

    private static final int THREADS = 256;

    /// Bytes for the terms of an operand at most, where it has more than 128 rows.
    private static final long SCRATCH = 128 << 20;

    /// With fewer tiles of 128 x 128 than this, smaller ones keep more of a device busy.
    private static final long MANY_TILES = 100;

    private final Gpu gpu;
    private final Kernels products;
    private final Kernels dense;
    private final Kernels packed;
    private final Kernels floats;
    private final Kernels blocks;
    private final BackendOptions.Math math;

    /// Bf16 terms of an activation.
    private final int terms;

    /// Loaded at the first product that it can do; null until then, and where there is none.
    private Blas blas;

    private boolean asked;

    ProductKernels(Gpu gpu, BackendOptions options) {
        this.gpu = gpu;
        math = options.math();
        terms = options.compute() == BackendOptions.Compute.BF16 ? 1 : ALL_TERMS;
        if (math == BackendOptions.Math.CUBLAS) {
            blas(); // who asked for it by name hears at once that it is not there
        }
        products = new Kernels(gpu, "products");
        dense = new Kernels(gpu, "dense");
        packed = new Kernels(gpu, "packed");
        floats = new Kernels(gpu, "floats");
        blocks = new Kernels(gpu, "blocks");
    }

    private Blas blas() {
        if (!asked) {
            asked = true;
            boolean wanted =
                    switch (math) {
                        case CUBLAS -> true;
                        case AUTO -> Natives.blasProblem().isEmpty();
                        case PORTABLE, ONEDNN -> false;
                    };
            blas = wanted ? new Blas(gpu) : null;
        }
        return blas;
    }

    void matmul(Tensor out, Tensor x, Weight w) {
        if (isSlim(x) && inRuns(x, w)) {
            slim(out, x, w);
        } else if (x.rows() <= FEW) {
            Grid grid =
                    Grid.blocks(
                            Math.ceilDiv(out.rows(), 16L), Math.ceilDiv(out.cols(), 32L), THREADS);
            long shared = 8L * stage(16, 32, w);
            multiply("few_", grid.withShared(shared), out, x, null, w);
        } else if (w.valueType() == DType.F32
                && w instanceof Weight.Dense(Tensor values)
                && blas() != null) {
            blas().multiply(
                            CudaBuffer.pointer(out),
                            Factor.f32(CudaBuffer.pointer(x), Layout.PLAIN),
                            Factor.f32(CudaBuffer.pointer(values), Layout.TRANSPOSED),
                            out.rows(),
                            out.cols(),
                            x.cols(),
                            1,
                            0);
        } else {
            inPieces("", out, x, w);
        }
    }

    /// A row's bits may then depend on whether there are more than so many.
    private boolean isSlim(Tensor x) {
        return math != BackendOptions.Math.PORTABLE && x.rows() > 0 && x.rows() <= SLIM;
    }

    /// By a kernel for the next power of two of rows.
    private void slim(Tensor out, Tensor x, Weight w) {
        long rows = Long.highestOneBit(2 * x.rows() - 1);
        boolean wide = w instanceof Weight.Dense && w.valueType() == DType.F32;
        long columns = rows == 1 && !wide ? 8 : 4;
        Grid grid = Grid.blocks(Math.ceilDiv(out.cols(), columns), SLIM_THREADS);
        multiply("slim" + rows + "_", grid, out, x, null, w);
    }

    /// Whether every run of neighbours is there as a whole, in aligned memory, and has one scale.
    private static boolean inRuns(Tensor x, Weight w) {
        return x.cols() % RUN == 0
                && aligned(x)
                && switch (w) {
                    case Weight.Blocks _ -> true;
                    case Weight.Dense(Tensor values) -> aligned(values);
                    case Weight.Grouped g ->
                            g.groupIndex() == null
                                    && (g.scales().cols() == 1
                                            || g.grid().tiles().width(g.inFeatures()) % RUN == 0);
                    case Weight.Scaled s ->
                            aligned(s.codes())
                                    && (s.scales().cols() == 1
                                            || s.grid().tiles().width(s.inFeatures()) % RUN == 0);
                };
    }

    private static boolean aligned(Tensor t) {
        return CudaBuffer.address(t) % 16 == 0;
    }

    void matmulInput(Tensor dx, Tensor dout, Weight w) {
        if (w instanceof Weight.Dense(Tensor values) && values.dtype() == DType.F32) {
            long in = dx.cols();
            onFloatUnits(
                    "nn", dx, 0, in, dout, dout.cols(), values, 0, dx.rows(), in, dout.cols(), 1);
        } else {
            inPieces("input_", dx, dout, w);
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

    void spread(CompressionOp.AccumulateObsSpread op) {
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

    /// The terms of x are made once, for as many rows at a time as there is scratch.
    private void inPieces(String kind, Tensor out, Tensor x, Weight w) {
        long m = x.rows();
        long pitch = Math.ceilDiv(x.cols(), (long) DEPTH) * DEPTH;
        long row = 2L * terms * pitch;
        long rows = Math.clamp(SCRATCH / row / 128 * 128, 128, Math.max(128, m));
        int stages = terms(w) == 1 ? 3 : 2;
        boolean library =
                w.valueType() == DType.BF16 && w instanceof Weight.Dense && blas() != null;
        try (Gpu.Scratch split = gpu.scratch(row * Math.min(m, rows))) {
            for (long r = 0; r < m; r += rows) {
                long end = Math.min(m, r + rows);
                Tensor from = x.rows(r, end);
                dense.launch(
                        "split_rows",
                        Grid.elements((end - r) * pitch / 8),
                        split,
                        from,
                        Math.toIntExact(end - r),
                        Math.toIntExact(x.cols()),
                        pitch,
                        terms);
                if (library) {
                    termByTerm(kind, out.rows(r, end), x.cols(), split, pitch, w);
                    continue;
                }
                Grid grid =
                        Grid.blocks(
                                        Math.ceilDiv(end - r, 128L),
                                        Math.ceilDiv(out.cols(), 128L),
                                        THREADS)
                                .withShared(stages * stage(128, 128, w));
                multiply(kind, grid, out.rows(r, end), from, split, w);
            }
        }
    }

    /// cuBLAS's product of each term with a BF16 weight, the smallest first.
    private void termByTerm(
            String kind, Tensor out, long k, Gpu.Scratch split, long pitch, Weight w) {
        boolean input = !kind.isEmpty();
        Tensor values = ((Weight.Dense) w).values();
        Layout layout = input ? Layout.PLAIN : Layout.TRANSPOSED;
        long m = out.rows();
        for (int t = terms - 1; t >= 0; t--) {
            boolean adds = input || t < terms - 1;
            blas().strided(
                            CudaBuffer.pointer(out),
                            out.cols(),
                            Factor.bf16(
                                    split.pointer().withByteOffset(2 * t * m * pitch),
                                    Layout.PLAIN),
                            pitch,
                            Factor.bf16(CudaBuffer.pointer(values), layout),
                            values.cols(),
                            m,
                            out.cols(),
                            k,
                            1,
                            adds ? 1 : 0);
        }
    }

    /// Bytes of both operands of a tile in shared memory.
    private static long stage(long rows, long cols, Weight w) {
        return 2 * DEPTH * (3 * rows + terms(w) * cols);
    }

    /// Bf16 terms of a weight's values.
    private static int terms(Weight w) {
        return switch (w.valueType()) {
            case F32 -> 3;
            case F16 -> 2;
            default -> 1;
        };
    }

    /// `out[m,n] = x[m,k] w[n,k]^T`, or `out[m,n] += x[m,k] w[k,n]` of kind `input_`.
    ///
    /// @param split the terms of x, or null where the kernel makes them
    private void multiply(
            String kind, Grid grid, Tensor out, Tensor x, Gpu.Scratch split, Weight w) {
        List<Object> arguments = new ArrayList<>();
        arguments.add(out);
        if (split == null) {
            arguments.add(x);
        } else {
            arguments.add(split);
            arguments.add(Math.ceilDiv(x.cols(), (long) DEPTH) * DEPTH);
        }
        Kernels family;
        String name;
        switch (w) {
            case Weight.Dense(Tensor values) -> {
                family = dense;
                name = "product_" + kind + values.dtype();
                arguments.add(values);
            }
            case Weight.Blocks b -> {
                family = blocks;
                name = "blocks_" + kind + b.type();
                arguments.add(b.blocks());
            }
            case Weight.Grouped g -> {
                family = packed;
                name = "packed_" + kind + g.scales().dtype();
                arguments.add(g.codes());
                arguments.add(g.scales());
                arguments.add(g.zeros());
                arguments.add(g.groupIndex());
                arguments.add(g.grid().codes().bits());
                arguments.add(Math.toIntExact(g.codes().cols()));
                arguments.add(Math.toIntExact(g.grid().tiles().width(g.inFeatures())));
                arguments.add(Math.toIntExact(g.scales().cols()));
            }
            case Weight.Scaled s -> {
                family = floats;
                name = "floats_" + kind + s.valueType();
                arguments.addAll(floats(s));
            }
        }
        arguments.add(Math.toIntExact(out.rows()));
        arguments.add(Math.toIntExact(out.cols()));
        arguments.add(Math.toIntExact(x.cols()));
        arguments.add(terms);
        family.launch(name.toLowerCase(Locale.ROOT), grid, arguments.toArray());
    }

    /// A weight of small floats as kernels have it (`WEIGHT` in floats.cu).
    static List<Object> floats(Weight.Scaled w) {
        return Arrays.asList(
                w.codes(),
                w.grid().codes().bits(),
                w.scales(),
                Types.ofScales(w.scales()),
                w.global(),
                Math.toIntExact(w.grid().tiles().height(w.outFeatures())),
                Math.toIntExact(w.grid().tiles().width(w.inFeatures())),
                Math.toIntExact(w.scales().cols()));
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
        if (blas() != null) {
            Layout aLayout = layout.equals("nn") ? Layout.PLAIN : Layout.TRANSPOSED;
            blas().strided(
                            CudaBuffer.pointer(c).withByteOffset(4 * cFrom),
                            pitch,
                            Factor.f32(CudaBuffer.pointer(a), aLayout),
                            aPitch,
                            Factor.f32(
                                    CudaBuffer.pointer(b).withByteOffset(4 * bFrom), Layout.PLAIN),
                            pitch,
                            m,
                            n,
                            k,
                            alpha,
                            1);
            return;
        }
        boolean large = Math.ceilDiv(m, 128L) * Math.ceilDiv(n, 128L) >= MANY_TILES;
        long tile = large ? 128 : 64;
        products.launch(
                "accumulate_" + layout + (large ? "" : "_small"),
                Grid.blocks(Math.ceilDiv(m, tile), Math.ceilDiv(n, tile), 256),
                CudaBuffer.address(c) + 4 * cFrom,
                Math.toIntExact(pitch),
                a,
                Math.toIntExact(aPitch),
                CudaBuffer.address(b) + 4 * bFrom,
                Math.toIntExact(pitch),
                Math.toIntExact(m),
                Math.toIntExact(n),
                Math.toIntExact(k),
                alpha,
                1);
    }

    void close() {
        if (blas != null) {
            blas.close();
        }
    }
}
