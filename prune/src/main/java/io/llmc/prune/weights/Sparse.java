// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.StatisticOp;
import io.llmc.solver.Pattern;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Masks of a dense weight. Tensors in, tensors out.
public final class Sparse {
    private Sparse() {}

    /// Bytes that [#prune] works in, beside what it gives.
    static long scratchBytes(long out, long in) {
        return out * in + 4096;
    }

    /// How many weights a pattern takes from each of the compared ones.
    public static CompressionOp.MaskRule rule(
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
    /// @param d receives the weight, in the type that it has
    /// @param importance F32 `[in]` of the inputs; null for all ones
    /// @return with the share of weights that are now zero
    public static Pruned prune(
            Desk d, Tensor values, Tensor importance, CompressionOp.MaskRule rule) {
        Tensor out = d.allocate(values.dtype(), values.rows(), values.cols());
        try (Desk scratch = d.fresh(scratchBytes(values.rows(), values.cols()))) {
            Tensor mask = scratch.allocate(DType.U8, values.rows(), values.cols());
            d.run(
                    new CompressionOp.ChooseMask(
                            mask, values, importance, rule, 0, (int) values.cols()));
            d.run(new CompressionOp.ApplyMask(out, values, mask));
            return new Pruned(out, Pattern.share(d.backend(), mask));
        }
    }

    public record Pruned(Tensor values, double sparsity) {}

    /// The dense values of a weight; F32 on the desk where it is packed.
    static Tensor values(Desk d, Weight w) {
        if (w instanceof Weight.Dense(Tensor values)) {
            return values;
        }
        Tensor values = d.f32(w.outFeatures(), w.inFeatures());
        d.run(new CompressionOp.Dequantize(values, w));
        return values;
    }

    /// `|| x (q - w)^T ||^2 / || x w^T ||^2` over some inputs.
    ///
    /// @param x F32 `[rows, in]`
    static double relativeError(Desk desk, Tensor x, Weight w, Weight q) {
        long out = w.outFeatures();
        try (Desk d = desk.fresh(12 * x.rows() * out + 16 * x.rows() + 8192)) {
            Tensor before = d.f32(x.rows(), out);
            Tensor after = d.f32(x.rows(), out);
            Tensor difference = d.f32(x.rows(), out);
            Tensor squares = d.allocate(DType.F64, x.rows());
            d.run(new ForwardOp.Matmul(before, x, w));
            d.run(new ForwardOp.Matmul(after, x, q));
            d.run(new ForwardOp.Add(difference, after, before, -1));
            d.run(new StatisticOp.RowSquares(squares, difference));
            double error = d.backend().sum(squares);
            d.run(new StatisticOp.RowSquares(squares, before));
            double norm = d.backend().sum(squares);
            return RelativeError.of(error, norm);
        }
    }
}
