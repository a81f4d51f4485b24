// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.solver.Factor;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.Arrays;

/// What a layer's remaining inputs must do so that the removed ones are missed least: damped least
/// squares on the layer's Hessian. Tensors in, tensors out.
///
/// With K the inputs that stay and P those that go, `|| x w^T - x_K v^T ||^2 + damp || v - w_K
/// ||^2` is least for `v = w_K + w_P h_PK (h_KK + damp)^-1`. Damping pulls towards the weights as
/// they were, so that weights of zero can go without a trace.
final class Refit {
    private Refit() {}

    /// Bytes that [#columns], [#factor] and [#squared] work in.
    static long scratchBytes(long out, long in) {
        return 4 * (5 * in * in + 6 * out * in) + Factor.bytes(in) + 32 * in + (1 << 16);
    }

    /// The weights of the inputs that stay.
    ///
    /// @param d receives them, F32 `[out, kept]`
    /// @param w F32 `[out, in]`
    /// @param h F32 `[in, in]`
    /// @param factor of h between inputs that stay; null to keep their weights as they are
    /// @param kept ascending, as `removed`
    static Tensor columns(Desk d, Tensor w, Tensor h, Factor factor, int[] kept, int[] removed) {
        long out = w.rows();
        Tensor result = d.f32(out, kept.length);
        try (Desk scratch = d.scratch()) {
            Tensor keptIndex = scratch.ints(kept);
            if (factor == null || removed.length == 0) {
                d.run(new StatisticOp.GatherColumns(result, w, keptIndex));
                return result;
            }
            Tensor removedIndex = scratch.ints(removed);
            Tensor stay = scratch.f32(out, kept.length);
            Tensor go = scratch.f32(out, removed.length);
            Tensor rows = scratch.f32(kept.length, w.cols());
            Tensor cross = scratch.f32(kept.length, removed.length);
            d.run(new StatisticOp.GatherColumns(stay, w, keptIndex));
            d.run(new StatisticOp.GatherColumns(go, w, removedIndex));
            d.run(new ForwardOp.GatherRows(rows, h, keptIndex));
            d.run(new StatisticOp.GatherColumns(cross, rows, removedIndex));
            Tensor a = scratch.f32(out, kept.length);
            Tensor b = scratch.f32(out, kept.length);
            Tensor lower = scratch.f32(kept.length, kept.length);
            d.run(new ForwardOp.Matmul(a, go, new Weight.Dense(cross)));
            d.run(new ForwardOp.Matmul(b, a, new Weight.Dense(factor.u())));
            d.run(new StatisticOp.Transpose(lower, factor.u()));
            d.run(new ForwardOp.Matmul(a, b, new Weight.Dense(lower)));
            d.run(new ForwardOp.Add(result, stay, a, 1));
        }
        return result;
    }

    /// The factor of the Hessian between inputs that stay; null where there is none.
    static Factor factor(Desk d, Tensor h, int[] kept, double damping) {
        Tensor part = d.f32(kept.length, kept.length);
        try (Desk scratch = d.scratch()) {
            d.run(new StatisticOp.GatherSymmetric(part, h, scratch.ints(kept)));
        }
        return Factor.of(d, part, damping, false);
    }

    /// As wide as the layer was, with zeros for the inputs that went: what the layer does while the
    /// inputs are still there.
    ///
    /// @param d receives it, F32 `[out, in]`
    /// @param columns F32 `[out, kept]`
    static Tensor spread(Desk d, Tensor columns, int[] kept, int in) {
        long out = columns.rows();
        Tensor full = d.f32(out, in);
        try (Desk scratch = d.scratch()) {
            Tensor turned = scratch.f32(kept.length + 1, out);
            Tensor rows = scratch.f32(in, out);
            d.run(new StatisticOp.Transpose(turned.rows(0, kept.length), columns));
            d.run(new ForwardOp.Zero(turned.rows(kept.length, kept.length + 1)));
            int[] from = new int[in];
            Arrays.fill(from, kept.length);
            for (int k = 0; k < kept.length; k++) {
                from[kept[k]] = k;
            }
            d.run(new ForwardOp.GatherRows(rows, turned, scratch.ints(from)));
            d.run(new StatisticOp.Transpose(full, rows));
        }
        return full;
    }

    /// `sum_o e[o,:] h e[o,:]^T` for `e = a - b`, or `e = a` where b is null.
    static double squared(Desk d, Tensor a, Tensor b, Tensor h) {
        try (Desk scratch = d.scratch()) {
            Tensor e = a;
            if (b != null) {
                e = scratch.f32(a.rows(), a.cols());
                d.run(new ForwardOp.Add(e, a, b, -1));
            }
            return RelativeError.squared(scratch, e, h);
        }
    }
}
