// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.Optional;

/// Schemes that have a name of their own, as llm-compressor's presets do.
public enum NamedScheme {
    /// Groups of 128 weights in 4 bits.
    W4A16(Scheme.of(Encoding.ints(4, 128, true))),
    /// The same with a zero point for each group.
    W4A16_ASYM(Scheme.of(Encoding.ints(4, 128, false))),
    /// A scale for each output channel.
    W8A16(Scheme.of(Encoding.ints(8, Tiles.ALL, true))),
    /// Weights and inputs in 8 bits: a scale for each output channel, and one for each token that
    /// is made when it comes.
    W8A8(with(Encoding.ints(8, Tiles.ALL, true), token(new Codes.Ints(8, true)))),
    /// The same with one scale for all inputs, which calibration finds.
    W8A8_STATIC(with(Encoding.ints(8, Tiles.ALL, true), fixed(new Codes.Ints(8, true)))),
    W4A8(with(Encoding.ints(4, 128, true), token(new Codes.Ints(8, true)))),
    W4AFP8(with(Encoding.ints(4, 128, true), token(Codes.Floats.E4M3))),
    /// Weights and inputs in F8_E4M3, one scale each; that of inputs is found by calibration.
    FP8(with(grid(Codes.Floats.E4M3, Tiles.TENSOR), fixed(Codes.Floats.E4M3))),
    /// Weights and inputs in F8_E4M3: a scale for each output channel, and one for each token that
    /// is made when it comes.
    FP8_DYNAMIC(with(grid(Codes.Floats.E4M3, Tiles.ROW), token(Codes.Floats.E4M3))),
    /// Blocks of 128 x 128 weights, inputs in groups of 128.
    FP8_BLOCK(
            with(
                    grid(Codes.Floats.E4M3, new Tiles(128, 128)),
                    new ActivationScheme(Codes.Floats.E4M3, Tiles.groups(128), true))),
    /// Groups of 16 numbers of four bits, their scales F8_E4M3 over one number, for weights and for
    /// inputs; that of inputs is found by calibration.
    NVFP4(both(nested())),
    NVFP4A16(Scheme.of(nested())),
    /// Groups of 32 numbers whose scale is a power of two.
    MXFP4(both(powers(Codes.Floats.E2M1))),
    MXFP4A16(Scheme.of(powers(Codes.Floats.E2M1))),
    MXFP8(both(powers(Codes.Floats.E4M3))),
    MXFP8A16(Scheme.of(powers(Codes.Floats.E4M3)));

    private final Scheme scheme;

    NamedScheme(Scheme scheme) {
        this.scheme = scheme;
    }

    Scheme scheme() {
        return scheme;
    }

    private static Encoding.Grid<Codes.Floats> grid(Codes.Floats codes, Tiles tiles) {
        return new Encoding.Grid<>(codes, tiles);
    }

    private static Encoding.Grid<Codes.Floats> nested() {
        return new Encoding.Grid<>(Codes.Floats.E2M1, Tiles.groups(16), ScaleKind.NESTED);
    }

    private static Encoding.Grid<Codes.Floats> powers(Codes.Floats codes) {
        return new Encoding.Grid<>(codes, Tiles.groups(32), ScaleKind.POWER);
    }

    private static ActivationScheme token(Codes codes) {
        return new ActivationScheme(codes, Tiles.ROW, true);
    }

    private static ActivationScheme fixed(Codes codes) {
        return new ActivationScheme(codes, Tiles.TENSOR, false);
    }

    private static Scheme with(Encoding weights, ActivationScheme inputs) {
        return new Scheme(weights, Optional.of(inputs));
    }

    private static Scheme both(Encoding.Grid<Codes.Floats> grid) {
        return with(grid, new ActivationScheme(grid, true));
    }
}
