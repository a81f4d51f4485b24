// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;
import io.llmc.tensor.Tensor;

/// One thread an element. Bound by memory: each operand crosses once.
final class ElementwiseKernels {
    private final Kernels kernels;

    ElementwiseKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "elementwise");
    }

    void add(Tensor out, Tensor a, Tensor b, float scale) {
        long n = out.shape().size();
        kernels.launch("add", Grid.elements(n), out, a, b, scale, n);
    }

    void addRow(Tensor out, Tensor x, Tensor row) {
        long n = out.shape().size();
        kernels.launch("add_row", Grid.elements(n), out, x, row, Types.of(row), x.cols(), n);
    }

    void multiply(Tensor out, Tensor a, Tensor b) {
        long n = out.shape().size();
        kernels.launch("multiply", Grid.elements(n), out, a, b, n);
    }

    void multiplyRow(Tensor out, Tensor x, Tensor row, float offset) {
        long n = out.shape().size();
        kernels.launch(
                "multiply_row", Grid.elements(n), out, x, row, Types.of(row), offset, x.cols(), n);
    }

    void scale(Tensor out, Tensor x, float factor) {
        long n = out.shape().size();
        kernels.launch("scale", Grid.elements(n), out, Types.of(out), x, Types.of(x), factor, n);
    }

    void softcap(Tensor out, Tensor x, float cap) {
        long n = out.shape().size();
        kernels.launch("softcap", Grid.elements(n), out, x, cap, n);
    }

    void clip(Tensor out, Tensor x, float most) {
        long n = out.shape().size();
        kernels.launch("clip", Grid.elements(n), out, x, most, n);
    }

    void clipGrad(Tensor dx, Tensor dout, Tensor out, float most) {
        long n = dx.shape().size();
        kernels.launch("clip_grad", Grid.elements(n), dx, dout, out, most, n);
    }

    void activate(Tensor out, Tensor x, ForwardOp.Activation activation) {
        long n = out.shape().size();
        kernels.launch("activate", Grid.elements(n), out, x, activation.ordinal(), n);
    }

    void gated(Tensor out, Tensor gate, Tensor up, ForwardOp.Activation activation) {
        long n = out.shape().size();
        kernels.launch("gated", Grid.elements(n), out, gate, up, activation.ordinal(), n);
    }

    void clampedSwiGlu(ForwardOp.ClampedSwiGlu op) {
        long n = op.out().shape().size();
        ForwardOp.Clamp clamp = op.clamp();
        kernels.launch(
                "clamped_swiglu",
                Grid.elements(n),
                op.out(),
                op.gate(),
                op.up(),
                clamp.limit(),
                clamp.alpha(),
                clamp.shift(),
                n);
    }

    void clampedSwiGluGrad(GradientOp.AccumulateClampedSwiGluGrad op) {
        long n = op.dgate().shape().size();
        ForwardOp.Clamp clamp = op.clamp();
        kernels.launch(
                "clamped_swiglu_grad",
                Grid.elements(n),
                op.dgate(),
                op.dup(),
                op.dout(),
                op.gate(),
                op.up(),
                clamp.limit(),
                clamp.alpha(),
                clamp.shift(),
                n);
    }

    void xielu(ForwardOp.Xielu op) {
        long n = op.out().shape().size();
        ForwardOp.Curve curve = op.curve();
        kernels.launch(
                "xielu",
                Grid.elements(n),
                op.out(),
                op.x(),
                curve.positive(),
                Types.of(curve.positive()),
                curve.negative(),
                Types.of(curve.negative()),
                curve.beta(),
                Types.of(curve.beta()),
                curve.eps(),
                Types.of(curve.eps()),
                n);
    }

    void xieluGrad(GradientOp.AccumulateXieluGrad op) {
        long n = op.dx().shape().size();
        ForwardOp.Curve curve = op.curve();
        kernels.launch(
                "xielu_grad",
                Grid.elements(n),
                op.dx(),
                op.dout(),
                op.x(),
                curve.positive(),
                Types.of(curve.positive()),
                curve.negative(),
                Types.of(curve.negative()),
                curve.beta(),
                Types.of(curve.beta()),
                curve.eps(),
                Types.of(curve.eps()),
                n);
    }

    void accumulateScaled(Tensor sum, Tensor x, float factor) {
        long n = sum.shape().size();
        kernels.launch("accumulate_scaled", Grid.elements(n), sum, x, factor, n);
    }

    void softcapGrad(Tensor dx, Tensor dout, Tensor out, float cap) {
        long n = dx.shape().size();
        kernels.launch("softcap_grad", Grid.elements(n), dx, dout, out, cap, n);
    }

    void activateGrad(Tensor dx, Tensor dout, Tensor x, ForwardOp.Activation activation) {
        long n = dx.shape().size();
        kernels.launch("activate_grad", Grid.elements(n), dx, dout, x, activation.ordinal(), n);
    }

    void gatedGrad(
            Tensor dgate,
            Tensor dup,
            Tensor dout,
            Tensor gate,
            Tensor up,
            ForwardOp.Activation activation) {
        long n = dgate.shape().size();
        kernels.launch(
                "gated_grad",
                Grid.elements(n),
                dgate,
                dup,
                dout,
                gate,
                up,
                activation.ordinal(),
                n);
    }
}
