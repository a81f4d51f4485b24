// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.Desk;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// Scales and zero points of a weight.
///
/// @param scales `[out, groups]`
/// @param zeros U8 `[out, groups]`
record Grid(Encoding.Grid<Codes.Ints> spec, Tensor scales, Tensor zeros) {
    static Grid allocate(
            Desk d, Encoding.Grid<Codes.Ints> spec, long out, long in, DType scaleDtype) {
        long groups = spec.tiles().across(in);
        return new Grid(
                spec, d.allocate(scaleDtype, out, groups), d.allocate(DType.U8, out, groups));
    }

    /// A packed weight on this grid, its codes not yet written.
    ///
    /// @param groupIndex null where groups are contiguous
    Weight.Grouped weight(Desk d, long in, Tensor groupIndex) {
        Tensor codes = d.allocate(DType.I32, scales.rows(), spec.codes().words(in));
        return new Weight.Grouped(spec, in, codes, scales, zeros, groupIndex);
    }
}
