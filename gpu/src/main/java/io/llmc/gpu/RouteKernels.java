// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.backend.ForwardOp;
import io.llmc.backend.GradientOp;
import io.llmc.backend.RouterSpec;
import io.llmc.gpu.driver.Gpu;
import io.llmc.gpu.driver.Grid;

/// Routes tokens to experts: one warp a token, which has a key for each expert in shared memory.
final class RouteKernels {
    private static final int WARP = 32;

    private final Kernels kernels;

    RouteKernels(Gpu gpu) {
        kernels = new Kernels(gpu, "routes");
    }

    void route(ForwardOp.Route op) {
        RouterSpec spec = op.spec();
        RouterSpec.Groups groups = spec.groups();
        int n = Math.toIntExact(op.logits().cols());
        int count = groups == null ? 0 : groups.count();
        kernels.launch(
                "route",
                Grid.blocks(op.logits().rows(), WARP).withShared(8L * (n + count)),
                op.experts(),
                op.weights(),
                op.logits(),
                op.bias(),
                Types.of(op.bias()),
                n,
                Math.toIntExact(op.experts().cols()),
                spec.scores().ordinal(),
                count,
                groups == null ? 0 : groups.kept(),
                groups == null ? 0 : groups.best(),
                spec.renormalised() ? 1 : 0,
                spec.eps(),
                spec.factor(),
                spec.jitter());
    }

    void weigh(ForwardOp.WeighExperts op) {
        RouterSpec spec = op.spec();
        kernels.launch(
                "weigh_experts",
                Grid.blocks(op.logits().rows(), WARP),
                op.weights(),
                op.experts(),
                op.logits(),
                Math.toIntExact(op.logits().cols()),
                Math.toIntExact(op.experts().cols()),
                spec.scores().ordinal(),
                spec.renormalised() ? 1 : 0,
                spec.eps(),
                spec.factor(),
                spec.jitter());
    }

    void gradient(GradientOp.AccumulateRouteGrad op) {
        RouterSpec spec = op.spec();
        kernels.launch(
                "route_grad",
                Grid.blocks(op.logits().rows(), WARP),
                op.dlogits(),
                op.dweights(),
                op.experts(),
                op.weights(),
                op.logits(),
                Math.toIntExact(op.logits().cols()),
                Math.toIntExact(op.weights().cols()),
                spec.scores().ordinal(),
                spec.renormalised() ? 1 : 0,
                spec.eps(),
                spec.factor(),
                spec.jitter());
    }
}
