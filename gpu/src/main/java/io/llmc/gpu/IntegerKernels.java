// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.ForwardOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Tensor;

/// Products of 8-bit integers: codes of the inputs, then their exact sums.
final class IntegerKernels {
    /// Rows and columns of a block (`TILE` in integers.cu).
    private static final long TILE = 64;

    private static final int THREADS = 256;

    /// Up to so many rows go through kernels for few, whose blocks make so many columns.
    private static final long SLIM = 8;

    private static final long SLIM_COLUMNS = 4;
    private static final int SLIM_THREADS = 128;

    private final Gpu gpu;
    private final Kernels floats;
    private final Kernels integers;

    IntegerKernels(Gpu gpu) {
        this.gpu = gpu;
        floats = new Kernels(gpu, "floats");
        integers = new Kernels(gpu, "integers");
    }

    void multiply(ForwardOp.IntegerMatmul op) {
        ActivationScheme scheme = op.rounding().scheme();
        Tensor scale = op.rounding().scale();
        boolean shifted = !((Codes.Ints) scheme.codes()).symmetric();
        long m = op.x().rows();
        long n = op.out().cols();
        int k = Math.toIntExact(op.x().cols());
        if (m == 0) {
            return;
        }
        long pitch = 4 * op.w().codes().cols();
        try (Gpu.Scratch codes = gpu.scratch(m * pitch);
                Gpu.Scratch steps = gpu.scratch(4 * m);
                Gpu.Scratch zeros = gpu.scratch(4 * m)) {
            floats.launch(
                    "integers_of_activations",
                    Grid.blocks(m, Grid.rowThreads(k)),
                    codes,
                    steps,
                    zeros,
                    op.x(),
                    scale,
                    Types.of(scale),
                    op.rounding().zero(),
                    shifted ? 0 : 1,
                    scheme.dynamic() ? 1 : 0,
                    k,
                    Math.toIntExact(pitch));
            boolean slim = m <= SLIM;
            integers.launch(
                    slim ? "integer_slim" + Long.highestOneBit(2 * m - 1) : "integer_product",
                    slim
                            ? Grid.blocks(Math.ceilDiv(n, SLIM_COLUMNS), SLIM_THREADS)
                            : Grid.blocks(Math.ceilDiv(m, TILE), Math.ceilDiv(n, TILE), THREADS),
                    op.out(),
                    codes,
                    steps,
                    zeros,
                    shifted ? 1 : 0,
                    op.w().codes(),
                    op.w().scales(),
                    Types.of(op.w().scales()),
                    Math.toIntExact(m),
                    Math.toIntExact(n),
                    k);
        }
    }
}
