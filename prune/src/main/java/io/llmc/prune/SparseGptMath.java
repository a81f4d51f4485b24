// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.solver.Factor;
import io.llmc.solver.Host;
import io.llmc.solver.Pattern;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// SparseGPT (Frantar and Alistarh, 2023, arXiv 2301.00774): block by block of columns the weights
/// whose removal costs least are zeroed, and each error is spread over the columns that follow.
final class SparseGptMath {
    private SparseGptMath() {}

    /// @param values F32 `[out, in]`
    /// @param sparsity share of weights that are zero
    /// @param error squared output error over squared output, both under the Hessian
    /// @param uncompensated the same for the mask alone
    record Result(Tensor values, double sparsity, double error, double uncompensated) {}

    /// Bytes of scratch for [#prune].
    static long scratchBytes(long out, long in, int blockSize) {
        return out * in * 13 + 4 * out * blockSize + 16 * in + 16 * out + (1 << 16);
    }

    /// @param arena receives the values
    /// @param scratch at least [#scratchBytes]
    /// @param h F32 `[in, in]`
    /// @param factor of h in the order of the inputs
    static Result prune(
            Backend backend,
            TensorArena arena,
            TensorArena scratch,
            Weight w,
            Tensor h,
            Factor factor,
            Pattern pattern,
            double sparsity,
            int blockSize) {
        int in = (int) w.inFeatures();
        Tensor work = arena.allocate(DType.F32, new Shape(w.outFeatures(), in));
        Tensor dense = scratch.allocate(DType.F32, work.shape());
        Tensor mask = scratch.allocate(DType.U8, work.shape());
        backend.run(new CompressionOp.Dequantize(dense, w));
        backend.run(new ForwardOp.Scale(work, dense, 1));
        try (TensorArena inner = scratch.scratch()) {
            Tensor costs = factor.costs(backend, inner);
            for (int from = 0; from < in; from += blockSize) {
                int to = Math.min(in, from + blockSize);
                block(backend, inner, work, mask, costs, factor, pattern, sparsity, from, to);
            }
        }
        Tensor difference = scratch.allocate(DType.F32, work.shape());
        double norm = squared(backend, scratch, dense, h);
        backend.run(new ForwardOp.Add(difference, work, dense, -1));
        double error = squared(backend, scratch, difference, h);
        Tensor masked = scratch.allocate(DType.F32, work.shape());
        backend.run(new CompressionOp.ApplyMask(masked, dense, mask));
        backend.run(new ForwardOp.Add(difference, masked, dense, -1));
        double uncompensated = squared(backend, scratch, difference, h);
        return new Result(
                work,
                Host.share(backend, mask),
                RelativeError.of(error, norm),
                RelativeError.of(uncompensated, norm));
    }

    private static void block(
            Backend backend,
            TensorArena scratch,
            Tensor work,
            Tensor mask,
            Tensor costs,
            Factor factor,
            Pattern pattern,
            double sparsity,
            int from,
            int to) {
        CompressionOp.MaskRule.NOfM chosen = null;
        switch (pattern) {
            case Pattern.NOfM p -> chosen = p.rule();
            case Pattern.Unstructured _ ->
                    backend.run(
                            new CompressionOp.ChooseMask(
                                    mask,
                                    work,
                                    costs,
                                    new CompressionOp.MaskRule.Together(
                                            new Pattern.Unstructured(sparsity)
                                                    .zeros(work.rows() * (to - from))),
                                    from,
                                    to));
        }
        try (TensorArena inner = scratch.scratch()) {
            Tensor errors = inner.allocate(DType.F32, new Shape(work.rows(), to - from));
            backend.run(
                    new CompressionOp.AccumulateObsBlock(
                            errors,
                            work,
                            factor.u(),
                            null,
                            new CompressionOp.AccumulateObsBlock.Pruning(mask, chosen),
                            from,
                            to));
            if (to < work.cols()) {
                backend.run(
                        new CompressionOp.AccumulateObsSpread(work, errors, factor.u(), from, to));
            }
        }
    }

    private static double squared(Backend backend, TensorArena scratch, Tensor e, Tensor h) {
        try (TensorArena inner = scratch.scratch()) {
            Tensor rows = inner.allocate(DType.F64, new Shape(e.rows()));
            backend.run(new StatisticOp.QuadraticForm(rows, e, h));
            return Host.sum(Host.doubles(backend, rows));
        }
    }
}
