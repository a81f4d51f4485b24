// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.formats.GridSpec;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// A grid of integers, each group with a zero point.
///
/// @param scales `[out, groups]`
/// @param zeros U8 `[out, groups]`
record IntGrid(GridSpec<Codes.Ints> target, long in, Tensor scales, Tensor zeros)
        implements WeightGrid {
    static IntGrid allocate(Desk d, GridSpec<Codes.Ints> target, long out, long in) {
        long groups = target.grid().tiles().across(in);
        return new IntGrid(
                target,
                in,
                d.allocate(target.scaleType(), out, groups),
                d.allocate(DType.U8, out, groups));
    }

    @Override
    public Encoding.Grid<Codes.Ints> spec() {
        return target.grid();
    }

    @Override
    public boolean whole() {
        return false;
    }

    @Override
    public void choose(
            Desk d,
            Tensor w,
            Tensor importance,
            CompressionOp.GridSearch search,
            int from,
            int to) {
        if (from < to) {
            d.run(
                    new CompressionOp.ChooseGrid(
                            scales,
                            zeros,
                            w,
                            importance,
                            spec(),
                            target.minZero(),
                            search,
                            from,
                            to));
        }
    }

    @Override
    public void round(Desk d, Tensor codes, Tensor squares, Tensor w) {
        d.run(new CompressionOp.RoundToGrid(codes, squares, w, scales, zeros, spec()));
    }

    @Override
    public CompressionOp.AccumulateObsBlock.Grid columns(Tensor codes, Tensor groupOf) {
        return new CompressionOp.AccumulateObsBlock.Grid(codes, scales, zeros, groupOf, spec());
    }

    @Override
    public Weight.Grouped weight(Desk d, Tensor groupIndex) {
        Tensor codes = d.allocate(DType.I32, scales.rows(), spec().codes().words(in));
        return new Weight.Grouped(spec(), in, codes, scales, zeros, groupIndex);
    }

    @Override
    public Tensor codes(Desk d, Weight weight) {
        return d.allocate(DType.U8, weight.outFeatures(), weight.inFeatures());
    }

    @Override
    public void pack(Desk d, Weight weight, Tensor codes) {
        Tensor packed = ((Weight.Grouped) weight).codes();
        d.run(new CompressionOp.PackCodes(packed, codes, spec().codes().bits()));
    }

    @Override
    public IntGrid another(Desk d) {
        return allocate(d, target, scales.rows(), in);
    }
}
