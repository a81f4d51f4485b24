// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.solver.RelativeError;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Round-to-nearest: every weight to the nearest point of its tile's grid.
final class RtnMath {
    private RtnMath() {}

    /// @param error sum of squared differences over sum of squared weights; NaN where one of them
    ///   is not finite
    record Result(Weight weight, double error) {}

    /// Bytes that [#quantize] works in for an `[out, in]` weight, beside what it gives.
    static long scratchBytes(long out, long in) {
        return out * in + 16 * out + (1 << 12);
    }

    /// The same, for any grid. Small floats of a byte are written where they stay.
    static long scratchBytes(Encoding encoding, long out, long in) {
        if (!(encoding instanceof Encoding.Grid<?> grid && grid.codes() instanceof Codes.Floats)) {
            return scratchBytes(out, in);
        }
        return scratchBytes(out, grid.codes().bits() == 8 ? 0 : in)
                + FloatGrid.scratchBytes(grid, out, in);
    }

    /// @param d receives the packed weight
    /// @param w dense `[out, in]`
    /// @param grid whose scales are not chosen yet
    /// @param grams of the inputs, by which errors count in the search, as [GroupGrams] has them;
    ///   null where all count alike
    /// @param groupIndex whether the weight says the group of every input, as others of its file do
    static Result quantize(
            Desk d,
            Weight w,
            WeightGrid grid,
            Tensor grams,
            CompressionOp.GridSearch search,
            boolean groupIndex) {
        long out = w.outFeatures();
        long in = w.inFeatures();
        Tensor groupOf = groupIndex ? d.ints(groupOf(grid.spec(), (int) in)) : null;
        Weight packed = grid.weight(d, groupOf);
        if (!(w instanceof Weight.Dense(Tensor dense))) {
            throw new IllegalArgumentException("already on a grid: " + w);
        }
        try (Desk scratch = d.fresh(scratchBytes(grid.spec(), out, in))) {
            grid.choose(scratch, dense, grams, search, 0, (int) grid.spec().tiles().across(in));
            Tensor codes = grid.codes(scratch, packed);
            Tensor squares = scratch.allocate(DType.F64, out, 2);
            grid.round(d, codes, squares, dense);
            grid.pack(d, packed, codes);
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
        return Double.isFinite(norm) ? RelativeError.of(error, norm) : Double.NaN;
    }

    /// The contiguous group of each input.
    static int[] groupOf(Encoding.Grid<?> spec, int in) {
        int[] group = new int[in];
        for (int i = 0; i < in; i++) {
            group[i] = (int) (i / spec.tiles().width(in));
        }
        return group;
    }
}
