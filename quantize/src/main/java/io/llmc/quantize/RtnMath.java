// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.formats.GridSpec;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Round-to-nearest: every weight to the nearest point of its group's grid.
final class RtnMath {
    private RtnMath() {}

    /// @param error sum of squared differences over sum of squared weights
    record Result(Weight.Grouped weight, double error) {}

    /// Bytes that [#quantize] works in for an `[out, in]` weight, beside what it gives.
    static long scratchBytes(long out, long in) {
        return out * in + 16 * out + (1 << 12);
    }

    /// @param d receives the packed weight
    /// @param w dense `[out, in]`
    /// @param groupIndex whether the weight says the group of every input, as others of its file do
    static Result quantize(
            Desk d,
            Weight w,
            GridSpec<Codes.Ints> target,
            CompressionOp.GridSearch search,
            boolean groupIndex) {
        long out = w.outFeatures();
        long in = w.inFeatures();
        Encoding.Grid<Codes.Ints> spec = target.grid();
        Grid grid = Grid.allocate(d, spec, out, in, target.scaleType());
        Tensor groupOf = d.ints(groupOf(spec, (int) in));
        Weight.Grouped packed = grid.weight(d, in, groupIndex ? groupOf : null);
        if (!(w instanceof Weight.Dense(Tensor dense))) {
            throw new IllegalArgumentException("already on a grid: " + w);
        }
        int groups = (int) spec.tiles().across(in);
        d.run(
                new CompressionOp.ChooseGrid(
                        grid.scales(),
                        grid.zeros(),
                        dense,
                        null,
                        spec,
                        target.minZero(),
                        search,
                        0,
                        groups));
        try (Desk scratch = d.fresh(scratchBytes(out, in))) {
            Tensor codes = scratch.allocate(DType.U8, out, in);
            Tensor squares = scratch.allocate(DType.F64, out, 2);
            d.run(
                    new CompressionOp.RoundToGrid(
                            codes, squares, dense, grid.scales(), grid.zeros(), spec));
            d.run(new CompressionOp.PackCodes(packed.codes(), codes, spec.codes().bits()));
            return new Result(packed, ratio(d.backend().doubles(squares)));
        }
    }

    private static double ratio(double[] squares) {
        double error = 0;
        double norm = 0;
        for (int i = 0; i < squares.length; i += 2) {
            error += squares[i];
            norm += squares[i + 1];
        }
        return RelativeError.of(error, norm);
    }

    /// The contiguous group of each input.
    static int[] groupOf(Encoding.Grid<Codes.Ints> spec, int in) {
        int[] group = new int[in];
        for (int i = 0; i < in; i++) {
            group[i] = (int) (i / spec.tiles().width(in));
        }
        return group;
    }
}
