// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.solver.Factor;
import io.llmc.solver.ObsSolver;
import io.llmc.solver.Pattern;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// SparseGPT (Frantar and Alistarh, 2023, arXiv 2301.00774): block by block of columns the weights
/// whose removal costs least are zeroed, and each error is spread over the columns that follow.
public final class SparseGptMath {
    private SparseGptMath() {}

    /// @param values F32 `[out, in]`
    /// @param sparsity share of weights that are zero
    /// @param error squared output error over squared output, both under the Hessian
    /// @param uncompensated the same for the mask alone
    public record Result(Tensor values, double sparsity, double error, double uncompensated) {}

    /// Which weights go, and how.
    ///
    /// @param sparsity of this layer, where the pattern leaves it open
    /// @param blockSize columns whose mask is chosen, and whose errors are spread, at once
    public record Settings(Pattern pattern, double sparsity, int blockSize) {}

    /// Bytes that [#prune] works in, beside what it gives.
    static long scratchBytes(long out, long in, int blockSize) {
        return out * in * 13
                + ObsSolver.scratchBytes(out, in, blockSize)
                + 16 * in
                + 16 * out
                + (1 << 16);
    }

    /// @param d receives the values
    /// @param h F32 `[in, in]`
    /// @param factor of h in the order of the inputs
    public static Result prune(Desk d, Weight w, Tensor h, Factor factor, Settings s) {
        long out = w.outFeatures();
        int in = (int) w.inFeatures();
        Tensor work = d.f32(out, in);
        Pattern pattern =
                s.pattern() instanceof Pattern.Unstructured
                        ? new Pattern.Unstructured(s.sparsity())
                        : s.pattern();
        try (Desk scratch = d.fresh(scratchBytes(out, in, s.blockSize()))) {
            Tensor dense = scratch.f32(out, in);
            d.run(new CompressionOp.Dequantize(dense, w));
            d.run(new ForwardOp.Scale(work, dense, 1));
            ObsSolver.Mask mask = ObsSolver.Mask.of(scratch, factor, out, pattern);
            double cost = new ObsSolver(factor, s.blockSize(), null, mask).solve(scratch, work);
            Tensor difference = scratch.f32(out, in);
            double norm = RelativeError.squared(scratch, dense, h);
            d.run(new ForwardOp.Add(difference, work, dense, -1));
            double error = factor.undamped(cost, d.backend().squares(difference));
            Tensor masked = scratch.f32(out, in);
            d.run(new CompressionOp.ApplyMask(masked, dense, mask.zeroed()));
            d.run(new ForwardOp.Add(difference, masked, dense, -1));
            double uncompensated = RelativeError.squared(scratch, difference, h);
            return new Result(
                    work,
                    mask.share(d),
                    RelativeError.of(error, norm),
                    RelativeError.of(uncompensated, norm));
        }
    }
}
