// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// What GPTQ leaves to gain: it rounds each column once and never looks back, on scales that were
/// chosen before. Here each code in turn becomes the best one while all others stay (QuantEase,
/// Behdin et al., 2023, arXiv 2309.01885), and each scale that of least squares for the codes of
/// its group. The error under the Hessian never rises.
final class Descent {
    private Descent() {}

    /// @param d scratch: three matrices of the weight's size
    /// @param packed its scales change; its codes are packed anew
    /// @param codes U8 `[out, in]` of the weight, accumulate
    /// @param dense F32 `[out, in]`, what it stands for
    /// @param h F32 `[in, in]`
    static void run(
            Desk d, Weight.Grouped packed, Tensor codes, Tensor dense, Tensor h, int sweeps) {
        long out = dense.rows();
        int in = (int) dense.cols();
        int width = (int) packed.grid().tiles().width(in);
        for (int sweep = 0; sweep < sweeps; sweep++) {
            try (Desk scratch = d.scratch()) {
                Tensor values = scratch.f32(out, in);
                Tensor error = scratch.f32(out, in);
                Tensor r = scratch.f32(out, in);
                d.run(new CompressionOp.Dequantize(values, packed));
                d.run(new ForwardOp.Add(error, values, dense, -1));
                // H is symmetric, so its rows are its columns.
                d.run(new ForwardOp.Matmul(r, error, new Weight.Dense(h)));
                for (int from = 0; from < in; from += width) {
                    int to = Math.min(in, from + width);
                    try (Desk group = scratch.scratch()) {
                        step(group, packed, codes, r, h, from, to);
                    }
                }
            }
            int bits = packed.grid().codes().bits();
            d.run(new CompressionOp.PackCodes(packed.codes(), codes, bits));
        }
    }

    private static void step(
            Desk d, Weight.Grouped packed, Tensor codes, Tensor r, Tensor h, int from, int to) {
        Tensor changes = d.f32(r.rows(), to - from);
        d.run(
                new CompressionOp.AccumulateDescent(
                        changes,
                        r,
                        codes,
                        packed.scales(),
                        packed.zeros(),
                        h,
                        packed.grid(),
                        (int) (from / packed.grid().tiles().width(r.cols()))));
        if (to < r.cols()) {
            d.run(new CompressionOp.AccumulateObsSpread(r, changes, h, from, to));
        }
    }
}
