// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.OpCases.Case;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Tiles;
import java.util.List;

/// Weights on grids of small floats.
final class SmallFloatCases {
    private static final int ROWS = 19;

    private SmallFloatCases() {}

    static void add(List<Case> cases) {
        for (Tiles tiles : List.of(Tiles.ROW, Tiles.TENSOR, Tiles.groups(16), new Tiles(8, 20))) {
            for (DType type : List.of(DType.F32, DType.BF16)) {
                cases.add(maxima(tiles, type));
            }
        }
        for (Codes.Floats codes : List.of(Codes.Floats.E4M3, Codes.Floats.E2M1)) {
            all(cases, new Encoding.Grid<>(codes, Tiles.ROW), DType.BF16);
            all(cases, new Encoding.Grid<>(codes, Tiles.groups(20)), DType.F32);
            all(cases, new Encoding.Grid<>(codes, Tiles.groups(32), ScaleKind.POWER), DType.U8);
            all(
                    cases,
                    new Encoding.Grid<>(codes, Tiles.groups(16), ScaleKind.NESTED),
                    DType.F8_E4M3);
        }
        all(cases, new Encoding.Grid<>(Codes.Floats.E4M3, new Tiles(8, 24)), DType.F16);
        cases.add(
                new Case(
                        CompressionOp.PackCodes.class,
                        "packCodes, two to a byte",
                        0,
                        a ->
                                new CompressionOp.PackCodes(
                                        a.out(DType.U8, ROWS, 33),
                                        a.of(DType.U8, _ -> a.random().nextInt(16), ROWS, 66),
                                        4)));
    }

    private static void all(List<Case> cases, Encoding.Grid<Codes.Floats> grid, DType scales) {
        for (DType type : List.of(DType.F32, DType.BF16)) {
            cases.add(choose(grid, scales, type, false));
            cases.add(round(grid, scales, type));
        }
        if (grid.tiles().rows() == 1) {
            cases.add(choose(grid, scales, DType.F32, true));
        }
        cases.add(gptq(grid, scales));
    }

    private static Case maxima(Tiles tiles, DType type) {
        return new Case(
                SmallFloatOp.TileMaxima.class,
                "tileMaxima, %s, %s".formatted(tiles.describe(), type),
                0,
                a ->
                        new SmallFloatOp.TileMaxima(
                                a.out(tiles.down(ROWS), tiles.across(66)),
                                weights(a, type),
                                tiles));
    }

    /// Some of them zero, some on ties of a grid.
    private static Tensor weights(Operands a, DType type) {
        return a.of(
                type, i -> i < 40 ? 0 : Math.rint(32 * a.random().nextGaussian()) / 64, ROWS, 66);
    }

    private static Tensor global(Operands a, Encoding.Grid<?> grid) {
        return grid.scales() == ScaleKind.NESTED ? a.of(DType.F32, _ -> 1700, 1) : null;
    }

    private static long[] tiles(Encoding.Grid<?> grid) {
        return new long[] {grid.tiles().down(ROWS), grid.tiles().across(66)};
    }

    private static Tensor scales(Operands a, Encoding.Grid<?> grid, DType type) {
        return switch (grid.scales()) {
            case FLOAT -> a.of(type, i -> 0.02 + 0.01 * (i % 7), tiles(grid));
            case POWER -> a.of(type, i -> 122 + i % 4, tiles(grid));
            case NESTED -> a.of(type, i -> 100 + i % 20, tiles(grid));
        };
    }

    private static Case choose(
            Encoding.Grid<Codes.Floats> grid, DType scales, DType type, boolean search) {
        return new Case(
                SmallFloatOp.ChooseScales.class,
                "chooseScales%s, %s, %s"
                        .formatted(search ? " with search" : "", grid.describe(), type),
                0,
                a -> {
                    Tensor w = weights(a, type);
                    Tensor maxima =
                            a.result(
                                    out -> new SmallFloatOp.TileMaxima(out, w, grid.tiles()),
                                    tiles(grid));
                    return new SmallFloatOp.ChooseScales(
                            a.out(scales, tiles(grid)),
                            maxima,
                            global(a, grid),
                            type,
                            grid,
                            search ? w : null,
                            search ? a.of(DType.F32, i -> 1 + i % 5, 66) : null,
                            search ? CompressionOp.GridSearch.DEFAULT : null);
                });
    }

    private static Case round(Encoding.Grid<Codes.Floats> grid, DType scales, DType type) {
        return new Case(
                SmallFloatOp.RoundToFloats.class,
                "roundToFloats, %s, %s".formatted(grid.describe(), type),
                1e-13, // of sums of squares in any order; a code that differs is far above
                a ->
                        new SmallFloatOp.RoundToFloats(
                                a.out(DType.U8, ROWS, 66),
                                a.out(DType.F64, ROWS, 2),
                                weights(a, type),
                                scales(a, grid, scales),
                                global(a, grid),
                                grid));
    }

    private static Case gptq(Encoding.Grid<Codes.Floats> grid, DType scales) {
        return new Case(
                CompressionOp.AccumulateObsBlock.class,
                "gptqBlock, " + grid.describe(),
                1e-10,
                a ->
                        OpCases.obsBlock(
                                a,
                                new CompressionOp.AccumulateObsBlock.Grid(
                                        a.written(DType.U8, i -> i % 5, ROWS, 66),
                                        scales(a, grid, scales),
                                        null,
                                        global(a, grid),
                                        a.indices((int) grid.tiles().across(66), 66),
                                        grid),
                                null,
                                66,
                                8,
                                60));
    }
}
