// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.backend.CompressionOp;
import io.llmc.backend.Desk;
import io.llmc.backend.SmallFloatOp;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;

/// A grid of small floats: the largest magnitude of a tile becomes the largest number, or near it
/// (Micikevicius et al., 2022, arXiv 2209.05433, section 3). Scales are those of the weights as
/// they were, also in GPTQ: what it spreads over a tile hardly moves its largest magnitude.
///
/// @param type of the weights, which quotients are rounded to that become nested scales
/// @param global F32 `[1]`, what nested scales are divided by; null for others
record FloatGrid(
        Encoding.Grid<Codes.Floats> spec,
        DType type,
        long out,
        long in,
        Tensor scales,
        Tensor global)
        implements WeightGrid {
    static FloatGrid allocate(
            Desk d, Encoding.Grid<Codes.Floats> spec, DType scaleType, Weight w, Tensor global) {
        DType stored =
                switch (spec.scales()) {
                    case FLOAT -> scaleType;
                    case POWER -> DType.U8;
                    case NESTED -> DType.F8_E4M3;
                };
        long out = w.outFeatures();
        long in = w.inFeatures();
        Tensor scales = d.allocate(stored, spec.tiles().down(out), spec.tiles().across(in));
        return new FloatGrid(spec, w.valueType(), out, in, scales, global);
    }

    /// Bytes that [#choose] works in.
    static long scratchBytes(Encoding.Grid<?> spec, long out, long in) {
        return 4 * spec.tiles().down(out) * spec.tiles().across(in) + 256;
    }

    @Override
    public boolean whole() {
        return true;
    }

    @Override
    public void choose(
            Desk d,
            Tensor w,
            Tensor importance,
            CompressionOp.GridSearch search,
            int from,
            int to) {
        try (Desk scratch = d.scratch()) {
            Tensor maxima = scratch.f32(scales.rows(), scales.cols());
            d.run(new SmallFloatOp.TileMaxima(maxima, w, spec.tiles()));
            // Tiles of several rows have no search: it would win next to nothing (ADR 19).
            boolean searches = search != null && spec.tiles().rows() == 1;
            d.run(
                    new SmallFloatOp.ChooseScales(
                            scales,
                            maxima,
                            global,
                            type,
                            spec,
                            searches ? w : null,
                            searches ? importance : null,
                            searches ? search : null));
        }
    }

    @Override
    public void round(Desk d, Tensor codes, Tensor squares, Tensor w) {
        d.run(new SmallFloatOp.RoundToFloats(codes, squares, w, scales, global, spec));
    }

    @Override
    public CompressionOp.AccumulateObsBlock.Grid columns(Tensor codes, Tensor groupOf) {
        return new CompressionOp.AccumulateObsBlock.Grid(
                codes, scales, null, global, groupOf, spec);
    }

    @Override
    public Weight.Scaled weight(Desk d, Tensor groupIndex) {
        boolean pairs = spec.codes().bits() == 4;
        Tensor codes =
                pairs
                        ? d.allocate(DType.U8, out, in / 2)
                        : d.allocate(spec.codes().type(), out, in);
        return new Weight.Scaled(spec, codes, scales, global);
    }

    @Override
    public Tensor codes(Desk d, Weight weight) {
        Tensor own = ((Weight.Scaled) weight).codes();
        return spec.codes().bits() == 4
                ? d.allocate(DType.U8, out, in)
                : new Tensor(own.buffer(), own.byteOffset(), DType.U8, own.shape());
    }

    @Override
    public void pack(Desk d, Weight weight, Tensor codes) {
        if (spec.codes().bits() == 4) {
            d.run(new CompressionOp.PackCodes(((Weight.Scaled) weight).codes(), codes, 4));
        }
    }

    @Override
    public FloatGrid another(Desk d) {
        Tensor more = d.allocate(scales.dtype(), scales.rows(), scales.cols());
        return new FloatGrid(spec, type, out, in, more, global);
    }
}
