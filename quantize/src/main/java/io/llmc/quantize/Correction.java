// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.solver.Drift;
import io.llmc.solver.Factor;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// The weights that a layer should have where its inputs are those of a compressed model: of least
/// squares, so that its outputs come near those of the original (the target of GPTAQ, Li et al.,
/// 2025, arXiv 2504.02692; there the column loop brings it in bit by bit, here it comes first). A
/// layer that writes to the residual stream also makes up for what the stream lacks by then.
///
/// Only a part of it is taken: all of it would be learnt by heart from few sequences.
final class Correction {
    private Correction() {}

    /// Bytes of scratch for [#apply].
    static long scratchBytes(long out, long in) {
        return 4 * out * in * 5 + 4 * in * in * 2 + 16 * in + (1 << 14);
    }

    /// `w + part (w (x0 - x)^T x + lag^T x / scale) (x^T x + damping)^-1`
    ///
    /// @param out F32 `[out, in]`
    /// @param factor of the Gram matrix of x
    /// @param part 0 to 1
    /// @param scale by which outputs are multiplied before they are added to the stream
    static void apply(
            Desk d, Tensor out, Weight w, Drift.Sum drift, Factor factor, float part, float scale) {
        long in = out.cols();
        try (Desk scratch = d.fresh(scratchBytes(out.rows(), in))) {
            Tensor behind = scratch.f32(in, in);
            Tensor wanted = scratch.f32(out.rows(), in);
            Tensor permuted = scratch.f32(out.rows(), in);
            Tensor half = scratch.f32(out.rows(), in);
            Tensor transposed = scratch.f32(in, in);
            d.run(new CompressionOp.Dequantize(out, w));
            d.run(new ForwardOp.Add(behind, drift.cross(), drift.gram().h(), -1));
            d.run(new ForwardOp.Matmul(wanted, out, new Weight.Dense(behind)));
            if (drift.lag() != null) {
                d.run(new ForwardOp.Add(wanted, wanted, drift.lag(), 1 / scale));
            }
            // (x^T x + damping)^-1 = u^T u, in the order of the factor.
            int[] order = factor.order();
            d.run(new StatisticOp.GatherColumns(permuted, wanted, scratch.ints(order)));
            d.run(new ForwardOp.Matmul(half, permuted, new Weight.Dense(factor.u())));
            d.run(new StatisticOp.Transpose(transposed, factor.u()));
            d.run(new ForwardOp.Matmul(permuted, half, new Weight.Dense(transposed)));
            d.run(new StatisticOp.GatherColumns(half, permuted, scratch.ints(inverse(order))));
            d.run(new ForwardOp.Add(out, out, half, part));
        }
    }

    private static int[] inverse(int[] order) {
        int[] places = new int[order.length];
        for (int j = 0; j < order.length; j++) {
            places[order[j]] = j;
        }
        return places;
    }
}
