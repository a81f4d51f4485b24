// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.Optional;
import java.util.stream.Stream;

/// The library's formats: which tensors hold a layer. Each group of a config has one.
enum Format {
    PACK("pack-quantized"),
    INT("int-quantized"),
    FLOAT("float-quantized"),
    NAIVE("naive-quantized"),
    NVFP4("nvfp4-pack-quantized"),
    MXFP4("mxfp4-pack-quantized"),
    MXFP8("mxfp8-quantized"),
    MARLIN_24("marlin-24");

    private final String id;

    Format(String id) {
        this.id = id;
    }

    /// As a config has it.
    String id() {
        return id;
    }

    static Optional<Format> named(String id) {
        return Stream.of(values()).filter(f -> f.id.equals(id)).findFirst();
    }

    /// The format that a scheme is written in: the library's own choice, but for integers whose
    /// inputs are rounded to floats. Those it would write a byte each; vLLM's kernel loads them
    /// packed.
    static Format of(Scheme scheme) {
        Encoding.Grid<?> grid = (Encoding.Grid<?>) scheme.weights();
        boolean rounded = scheme.inputs().isPresent();
        return switch (grid.codes()) {
            case Codes.Ints _ ->
                    scheme.inputs().filter(i -> i.codes() instanceof Codes.Ints).isPresent()
                            ? INT
                            : PACK;
            case Codes.Floats floats ->
                    switch (grid.scales()) {
                        case FLOAT -> rounded ? FLOAT : NAIVE;
                        case POWER -> floats.equals(Codes.Floats.E2M1) ? MXFP4 : MXFP8;
                        case NESTED -> NVFP4;
                    };
        };
    }

    /// What the scales of small floats are in this format.
    ScaleKind scales() {
        return switch (this) {
            case NVFP4 -> ScaleKind.NESTED;
            case MXFP4, MXFP8 -> ScaleKind.POWER;
            case PACK, INT, FLOAT, NAIVE, MARLIN_24 -> ScaleKind.FLOAT;
        };
    }

    /// How weights on a grid are spelled; empty where this format has no place for it.
    ///
    /// @param gaps whether a width that does not divide 32 leaves bits of words unused, where the
    ///   tensors themselves leave that open
    Optional<Spelling> spelling(Encoding.Grid<?> grid, boolean gaps) {
        Tiles tiles = grid.tiles();
        boolean alongRows = tiles.rows() == 1;
        Spelling spelling =
                switch (grid.codes()) {
                    case Codes.Ints ints -> {
                        var integers = new Encoding.Grid<>(ints, tiles);
                        yield switch (this) {
                            case PACK -> alongRows ? new PackQuantized(integers, gaps) : null;
                            case INT, NAIVE ->
                                    alongRows || tiles.equals(Tiles.TENSOR)
                                            ? new IntQuantized(integers)
                                            : null;
                            case MARLIN_24 ->
                                    Marlin24.holds(integers) ? new Marlin24(integers) : null;
                            case FLOAT, NVFP4, MXFP4, MXFP8 -> null;
                        };
                    }
                    case Codes.Floats floats -> {
                        var small = new Encoding.Grid<>(floats, tiles, scales());
                        boolean halves = floats.equals(Codes.Floats.E2M1);
                        yield switch (this) {
                            case FLOAT, NAIVE -> halves ? null : new FloatQuantized(small);
                            case MXFP8 -> !halves && alongRows ? new FloatQuantized(small) : null;
                            case NVFP4, MXFP4 ->
                                    halves && alongRows ? new Fp4Quantized(small) : null;
                            case PACK, INT, MARLIN_24 -> null;
                        };
                    }
                };
        return Optional.ofNullable(spelling);
    }
}
