// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;

/// What scales of channels are made of, and what they do to weights.
final class ScaleKernels {
    private static final int THREADS = 256;

    /// Rows of a block that looks for maxima: enough blocks for the largest device, and few of them
    /// that meet in one column.
    private static final int SLICE = 64;

    private final Kernels kernels;

    ScaleKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "scales");
    }

    void scaleColumns(Tensor out, Tensor w, Tensor factors) {
        long n = w.shape().size();
        kernels.launch(
                "scale_columns", Grid.elements(n), out, w, Types.of(w), factors, w.cols(), n);
    }

    void clamp(Tensor out, Tensor w, Tensor limits) {
        long n = w.shape().size();
        long width = w.cols() / limits.cols();
        kernels.launch("clamp_groups", Grid.elements(n), out, w, Types.of(w), limits, width, n);
    }

    void columnMaxima(Tensor most, Tensor x) {
        if (x.shape().size() == 0) {
            return;
        }
        long slices = Math.clamp(Math.ceilDiv(x.rows(), SLICE), 1, 1 << 15);
        long slice = Math.ceilDiv(x.rows(), slices);
        kernels.launch(
                "column_maxima",
                Grid.blocks(Math.ceilDiv(x.cols(), THREADS), slices, THREADS),
                most,
                x,
                Types.of(x),
                x.rows(),
                x.cols(),
                slice);
    }
}
