// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;

/// Matrices whose rows and columns sum to about 1: a thread has a line of one, a small block as
/// many matrices as it has threads for. Divisions that wait for each other limit it.
final class SinkhornKernels {
    private static final int WARP = 32;

    private final Gpu gpu;
    private final Kernels kernels;

    SinkhornKernels(Gpu gpu) {
        this.gpu = gpu;
        kernels = new Kernels(gpu, "sinkhorn");
    }

    void forward(ForwardOp.Sinkhorn op) {
        ForwardOp.Balance balance = op.balance();
        kernels.launch(
                "sinkhorn",
                grid(op.x().rows(), balance.size(), 1),
                op.out(),
                op.x(),
                op.x().rows(),
                balance.size(),
                balance.steps(),
                balance.eps());
    }

    void gradient(GradientOp.AccumulateSinkhornGrad op) {
        ForwardOp.Balance balance = op.balance();
        Grid grid = grid(op.x().rows(), balance.size(), 2);
        long sums = (long) grid.x() * grid.threads() * balance.steps();
        try (Gpu.Scratch scratch = gpu.scratch(8 * sums)) {
            kernels.launch(
                    "sinkhorn_grad",
                    grid,
                    op.dx(),
                    op.dout(),
                    op.x(),
                    scratch,
                    op.x().rows(),
                    balance.size(),
                    balance.steps(),
                    balance.eps());
        }
    }

    /// @param copies of each matrix in shared memory
    private static Grid grid(long rows, int size, int copies) {
        int threads = size <= WARP ? WARP : 2 * WARP;
        int matrices = threads / size;
        return Grid.blocks(Math.ceilDiv(rows, (long) matrices), threads)
                .withShared(8L * copies * matrices * size * (size | 1));
    }
}
