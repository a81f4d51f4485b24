// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.backend.TensorArena;
import io.llmc.solver.Host;
import io.llmc.solver.Pattern;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Masks of a dense weight. Tensors in, tensors out.
final class Sparse {
    private Sparse() {}

    /// Bytes of scratch for [#mask] and [#apply].
    static long scratchBytes(long out, long in) {
        return out * in + 4096;
    }

    /// How many weights a pattern takes from each of the compared ones.
    static CompressionOp.MaskRule rule(
            Pattern pattern, double sparsity, Compare compare, long out, long in) {
        return switch (pattern) {
            case Pattern.NOfM p -> p.rule();
            case Pattern.Unstructured _ when compare == Compare.ROW ->
                    new CompressionOp.MaskRule.EachRow((int) (in * sparsity));
            case Pattern.Unstructured _ ->
                    new CompressionOp.MaskRule.Together((long) (out * in * sparsity));
        };
    }

    /// Zeroes the weights of a layer that count least.
    ///
    /// @param arena receives the weight, in the type that it has
    /// @param importance F32 `[in]` of the inputs; null for all ones
    /// @return with the share of weights that are now zero
    static Pruned prune(
            Backend backend,
            TensorArena arena,
            Tensor values,
            Tensor importance,
            CompressionOp.MaskRule rule) {
        Tensor out = arena.allocate(values.dtype(), values.shape());
        try (TensorArena scratch = backend.newArena(scratchBytes(values.rows(), values.cols()))) {
            Tensor mask = scratch.allocate(DType.U8, values.shape());
            backend.run(
                    new CompressionOp.ChooseMask(
                            mask, values, importance, rule, 0, (int) values.cols()));
            backend.run(new CompressionOp.ApplyMask(out, values, mask));
            return new Pruned(out, Host.share(backend, mask));
        }
    }

    record Pruned(Tensor values, double sparsity) {}

    /// The dense values of a weight; F32 in `arena` where it is packed.
    static Tensor values(Backend backend, TensorArena arena, Weight w) {
        if (w instanceof Weight.Dense(Tensor values)) {
            return values;
        }
        Tensor values = arena.allocate(DType.F32, new Shape(w.outFeatures(), w.inFeatures()));
        backend.run(new CompressionOp.Dequantize(values, w));
        return values;
    }

    /// `|| x (q - w)^T ||^2 / || x w^T ||^2` over some inputs.
    ///
    /// @param x F32 `[rows, in]`
    static double relativeError(Backend backend, Tensor x, Weight w, Weight q) {
        long out = w.outFeatures();
        try (TensorArena arena = backend.newArena(12 * x.rows() * out + 16 * x.rows() + 8192)) {
            Tensor before = arena.allocate(DType.F32, new Shape(x.rows(), out));
            Tensor after = arena.allocate(DType.F32, new Shape(x.rows(), out));
            Tensor difference = arena.allocate(DType.F32, new Shape(x.rows(), out));
            Tensor squares = arena.allocate(DType.F64, new Shape(x.rows()));
            backend.run(new ForwardOp.Matmul(before, x, w));
            backend.run(new ForwardOp.Matmul(after, x, q));
            backend.run(new ForwardOp.Add(difference, after, before, -1));
            backend.run(new StatisticOp.RowSquares(squares, difference));
            double error = Host.sum(Host.doubles(backend, squares));
            backend.run(new StatisticOp.RowSquares(squares, before));
            double norm = Host.sum(Host.doubles(backend, squares));
            return RelativeError.of(error, norm);
        }
    }
}
