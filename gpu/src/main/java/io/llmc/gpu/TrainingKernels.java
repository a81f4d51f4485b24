// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.GradientOp;
import io.llmc.backend.OptimizerOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Steps of an optimizer, and gradients of what only training changes.
final class TrainingKernels {
    private static final int WARPS = 8;

    /// Enough for the largest device; the rest goes in strides.
    private static final long BLOCKS = 1 << 11;

    private final Kernels kernels;

    TrainingKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "training");
    }

    /// What undoes the bias of a moment towards its zero beginning.
    private static float correction(float beta, int step) {
        return (float) (1 / (1 - StrictMath.pow(beta, step)));
    }

    void adamW(Tensor w, Tensor m, Tensor v, Tensor g, OptimizerOp.AdamSpec spec) {
        long n = w.shape().size();
        kernels.launch(
                "adam_w",
                Grid.elements(Math.ceilDiv(n, 4L)),
                w,
                m,
                v,
                g,
                spec.rate(),
                spec.beta1(),
                spec.beta2(),
                spec.eps(),
                spec.decay(),
                correction(spec.beta1(), spec.step()),
                correction(spec.beta2(), spec.step()),
                spec.gradientScale(),
                n);
    }

    void adamW8(OptimizerOp.AccumulateAdamW8 op) {
        OptimizerOp.AdamSpec spec = op.spec();
        long n = op.w().shape().size();
        long blocks = Math.ceilDiv(OptimizerOp.Moment.scales(n), (long) WARPS);
        kernels.launch(
                "adam_w8",
                Grid.blocks(Math.min(blocks, BLOCKS), 32 * WARPS),
                op.w(),
                op.m().codes(),
                op.m().scales(),
                op.v().codes(),
                op.v().scales(),
                op.g(),
                spec.rate(),
                spec.beta1(),
                spec.beta2(),
                spec.eps(),
                spec.decay(),
                correction(spec.beta1(), spec.step()),
                correction(spec.beta2(), spec.step()),
                spec.gradientScale(),
                n);
    }

    void signStep(OptimizerOp.AccumulateSignStep op) {
        int cols = Math.toIntExact(op.w().cols());
        int groups = Math.toIntExact(op.scales().cols());
        int length = Math.toIntExact(Math.min(cols, op.spec().tiles().width(cols)));
        long total = op.scales().shape().size();
        kernels.launch(
                "sign_step",
                Grid.blocks(Math.ceilDiv(total, (long) WARPS), 32 * WARPS),
                op.w(),
                op.scales(),
                op.g(),
                op.codes(),
                op.zeros(),
                cols,
                groups,
                length,
                op.spec().codes().maxCode(),
                op.step().rate(),
                op.step().rangeRate(),
                op.step().momentum(),
                total);
    }

    /// `dscales[o,g] += sum_i dvalues[o,i] (code[o,i] - zero[o,g])`
    void scales(GradientOp.AccumulateScales op) {
        Weight.Grouped w = op.w();
        long total = op.dscales().shape().size();
        kernels.launch(
                "scales_gradient",
                Grid.blocks(Math.ceilDiv(total, (long) WARPS), 32 * WARPS),
                op.dscales(),
                op.dvalues(),
                w.codes(),
                w.zeros(),
                w.groupIndex(),
                w.grid().codes().bits(),
                Math.toIntExact(w.inFeatures()),
                Math.toIntExact(op.dscales().cols()),
                Math.toIntExact(w.grid().tiles().width(w.inFeatures())),
                Math.toIntExact(w.codes().cols()),
                total);
    }
}
