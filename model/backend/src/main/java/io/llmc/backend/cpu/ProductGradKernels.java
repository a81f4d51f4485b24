// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.formats.MemoryBudget;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

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

    /// `dscales[o,g] += sum_i dvalues[o,i] (code[o,i] - zero[o,g])`
    void scales(Tensor dscales, Tensor dvalues, Weight.Grouped w) {
        int in = Math.toIntExact(w.inFeatures());
        int groups = Math.toIntExact(dscales.cols());
        GroupedRows rows = new GroupedRows(w);
        workers.forEachRow(
                w.outFeatures(),
                in,
                (r, scratch) -> {
                    float[] codes = scratch.floats(0, Lanes.padded(in));
                    float[] d = scratch.floats(1, Lanes.padded(in));
                    double[] sums = scratch.doubles(0, 4 * groups);
                    rows.distances(codes, r, in);
                    Lanes.read(d, 0, dvalues.bytes(), DType.F32, r * in, in);
                    Arrays.fill(sums, 0, 4 * groups, 0);
                    for (int i = 0; i < in; i++) {
                        // Four sums by turns, the same in every vector width.
                        sums[4 * rows.group(i) + (i & 3)] += (double) d[i] * codes[i];
                    }
                    for (int g = 0; g < groups; g++) {
                        long at = 4 * (r * groups + g);
                        double sum =
                                (sums[4 * g] + sums[4 * g + 1])
                                        + (sums[4 * g + 2] + sums[4 * g + 3]);
                        float before = dscales.bytes().get(Lanes.F32, at);
                        dscales.bytes().set(Lanes.F32, at, (float) (before + sum));
                    }
                });
    }
}
