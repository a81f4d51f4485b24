// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.formats.MemoryBudget;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// The two gradients of a matrix product, which are matrix products.
final class ProductGradKernels {
    /// Rows of a weight that are decoded at once.
    private static final int ROWS = 64;

    private final Workers workers;
    private final MemoryBudget budget;

    /// @param budget for decoded weights
    ProductGradKernels(Workers workers, MemoryBudget budget) {
        this.workers = workers;
        this.budget = budget;
    }

    /// `dx[t,i] += sum_o dout[t,o] w[o,i]`
    void input(Gemm gemm, Tensor dx, Tensor dout, Weight w) {
        int in = Math.toIntExact(w.inFeatures());
        try (Arena arena = budget.newArena()) {
            MemorySegment values =
                    w instanceof Weight.Dense(Tensor t) && t.dtype() == DType.F32
                            ? t.bytes()
                            : decoded(w, arena);
            gemm.multiply(
                    new Product(
                            dx.bytes(),
                            0,
                            in,
                            Math.toIntExact(dx.rows()),
                            in,
                            Math.toIntExact(dout.cols()),
                            Operand.of(dout),
                            new Operand.Columns(values, 0, in),
                            1,
                            true,
                            Product.Part.ALL));
        }
    }

    private MemorySegment decoded(Weight w, Arena arena) {
        int in = Math.toIntExact(w.inFeatures());
        int out = Math.toIntExact(w.outFeatures());
        MemorySegment values = arena.allocate(4L * in * out, 64);
        Operand rows = Operand.of(w);
        workers.forEach(
                Math.ceilDiv(out, ROWS),
                (tile, scratch) -> {
                    float[] row = scratch.floats(6, Lanes.padded(in));
                    for (int o = tile * ROWS; o < Math.min(out, (tile + 1) * ROWS); o++) {
                        rows.read(row, 0, o, 0, in, scratch);
                        MemorySegment.copy(row, 0, values, Lanes.F32, 4L * o * in, in);
                    }
                });
        return values;
    }

    /// `dw[o,i] += sum_t dout[t,o] x[t,i]`
    void outer(Gemm gemm, Tensor dw, Tensor dout, Tensor x) {
        int in = Math.toIntExact(x.cols());
        gemm.multiply(
                new Product(
                        dw.bytes(),
                        0,
                        in,
                        Math.toIntExact(dw.rows()),
                        in,
                        Math.toIntExact(x.rows()),
                        Operand.transposed(dout),
                        Operand.transposed(x),
                        1,
                        true,
                        Product.Part.ALL));
    }
}
