// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.solver.Factor;
import io.llmc.solver.Host;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.Arrays;

/// What a layer's remaining inputs must do so that the removed ones are missed least: damped least
/// squares on the layer's Hessian. Tensors in, tensors out.
///
/// With K the inputs that stay and P those that go, `|| x w^T - x_K v^T ||^2 + damp || v - w_K
/// ||^2` is least for `v = w_K + w_P h_PK (h_KK + damp)^-1`. Damping pulls towards the weights as
/// they were, so that weights of zero can go without a trace.
final class Refit {
    private Refit() {}

    /// Bytes of scratch for [#columns].
    static long scratchBytes(long out, long in) {
        return 4 * (5 * in * in + 6 * out * in) + Factor.bytes(in) + 32 * in + (1 << 16);
    }

    /// The weights of the inputs that stay.
    ///
    /// @param arena receives them, F32 `[out, kept]`
    /// @param w F32 `[out, in]`
    /// @param h F32 `[in, in]`
    /// @param factor of h between inputs that stay; null to keep their weights as they are
    /// @param kept ascending, as `removed`
    static Tensor columns(
            Backend backend,
            TensorArena arena,
            Tensor w,
            Tensor h,
            Factor factor,
            int[] kept,
            int[] removed) {
        long out = w.rows();
        Tensor result = arena.allocate(DType.F32, new Shape(out, kept.length));
        try (TensorArena scratch = arena.scratch()) {
            Tensor keptIndex = Host.ints(backend, scratch, kept);
            if (factor == null || removed.length == 0) {
                backend.run(new StatisticOp.GatherColumns(result, w, keptIndex));
                return result;
            }
            Tensor removedIndex = Host.ints(backend, scratch, removed);
            Tensor stay = matrix(scratch, out, kept.length);
            Tensor go = matrix(scratch, out, removed.length);
            Tensor rows = matrix(scratch, kept.length, w.cols());
            Tensor cross = matrix(scratch, kept.length, removed.length);
            backend.run(new StatisticOp.GatherColumns(stay, w, keptIndex));
            backend.run(new StatisticOp.GatherColumns(go, w, removedIndex));
            backend.run(new ForwardOp.GatherRows(rows, h, keptIndex));
            backend.run(new StatisticOp.GatherColumns(cross, rows, removedIndex));
            Tensor a = matrix(scratch, out, kept.length);
            Tensor b = matrix(scratch, out, kept.length);
            Tensor lower = matrix(scratch, kept.length, kept.length);
            backend.run(new ForwardOp.Matmul(a, go, new io.llmc.tensor.Weight.Dense(cross)));
            backend.run(new ForwardOp.Matmul(b, a, new io.llmc.tensor.Weight.Dense(factor.u())));
            backend.run(new StatisticOp.Transpose(lower, factor.u()));
            backend.run(new ForwardOp.Matmul(a, b, new io.llmc.tensor.Weight.Dense(lower)));
            backend.run(new ForwardOp.Add(result, stay, a, 1));
        }
        return result;
    }

    /// The factor of the Hessian between inputs that stay; null where there is none.
    static Factor factor(Backend backend, TensorArena arena, Tensor h, int[] kept, double damping) {
        Tensor part = matrix(arena, kept.length, kept.length);
        try (TensorArena scratch = arena.scratch()) {
            backend.run(
                    new StatisticOp.GatherSymmetric(part, h, Host.ints(backend, scratch, kept)));
        }
        return Factor.of(backend, arena, part, damping, false);
    }

    /// As wide as the layer was, with zeros for the inputs that went: what the layer does while the
    /// inputs are still there.
    ///
    /// @param arena receives it, F32 `[out, in]`
    /// @param columns F32 `[out, kept]`
    static Tensor spread(Backend backend, TensorArena arena, Tensor columns, int[] kept, int in) {
        long out = columns.rows();
        Tensor full = matrix(arena, out, in);
        try (TensorArena scratch = arena.scratch()) {
            Tensor turned = matrix(scratch, kept.length + 1, out);
            Tensor rows = matrix(scratch, in, out);
            backend.run(new StatisticOp.Transpose(turned.rows(0, kept.length), columns));
            backend.run(new ForwardOp.Zero(turned.rows(kept.length, kept.length + 1)));
            int[] from = new int[in];
            Arrays.fill(from, kept.length);
            for (int k = 0; k < kept.length; k++) {
                from[kept[k]] = k;
            }
            backend.run(new ForwardOp.GatherRows(rows, turned, Host.ints(backend, scratch, from)));
            backend.run(new StatisticOp.Transpose(full, rows));
        }
        return full;
    }

    /// `sum_o e[o,:] h e[o,:]^T` for `e = a - b`, or `e = a` where b is null.
    static double squared(Backend backend, TensorArena arena, Tensor a, Tensor b, Tensor h) {
        try (TensorArena scratch = arena.scratch()) {
            Tensor e = a;
            if (b != null) {
                e = matrix(scratch, a.rows(), a.cols());
                backend.run(new ForwardOp.Add(e, a, b, -1));
            }
            Tensor rows = scratch.allocate(DType.F64, new Shape(a.rows()));
            backend.run(new StatisticOp.QuadraticForm(rows, e, h));
            return Host.sum(Host.doubles(backend, rows));
        }
    }

    static Tensor matrix(TensorArena arena, long rows, long cols) {
        return arena.allocate(DType.F32, new Shape(rows, cols));
    }
}
