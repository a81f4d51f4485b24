// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.lang.foreign.ValueLayout;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/// A linear layer's `[out, in]` matrix in one of the encodings that every backend must be able to
/// multiply by.
///
/// Adding an encoding means adding a record here; the compiler then lists every switch that must
/// learn it.
public sealed interface Weight {
    long outFeatures();

    long inFeatures();

    Encoding encoding();

    /// The float type that its values are rounded to, and so are exact in.
    DType valueType();

    /// Everything that the encoding holds in memory.
    Stream<Tensor> tensors();

    /// The same weight with each of its tensors replaced by one of the same type and shape: a copy
    /// elsewhere.
    Weight with(UnaryOperator<Tensor> f);

    /// Some of the rows: a weight `[to - from, in]` over the same memory.
    ///
    /// @param from a multiple of [#together]
    Weight rows(long from, long to);

    /// Rows that share scales with each other alone, and are cut out together.
    default long together() {
        return 1;
    }

    /// Plain values.
    ///
    /// @param values F32, F16 or BF16 `[out, in]`
    record Dense(Tensor values) implements Weight {
        public Dense {
            if (!values.dtype().isFloat() || values.shape().rank() != 2) {
                throw new IllegalArgumentException("not a dense weight: " + values);
            }
        }

        @Override
        public long outFeatures() {
            return values.rows();
        }

        @Override
        public long inFeatures() {
            return values.cols();
        }

        @Override
        public Encoding encoding() {
            return new Encoding.Dense(values.dtype());
        }

        @Override
        public DType valueType() {
            return values.dtype();
        }

        @Override
        public Stream<Tensor> tensors() {
            return Stream.of(values);
        }

        @Override
        public Weight with(UnaryOperator<Tensor> f) {
            return new Dense(f.apply(values));
        }

        @Override
        public Weight rows(long from, long to) {
            return new Dense(values.rows(from, to));
        }
    }

    /// Unsigned codes with a scale and a zero point a group: `w[o,i] = round((code[o,i] -
    /// zero[o,g]) * scale[o,g])`, where `g = i / width`, or `groupIndex[i]` where that is given,
    /// and `round` goes to the dtype of the scales, as every reader of these files does.
    ///
    /// @param codes I32 `[out, words]`; each row is one little-endian bit stream, the first code in
    ///   the lowest bits, codes may straddle words. These are the bytes of compressed-tensors'
    ///   `weight_packed`.
    /// @param scales F32, F16 or BF16 `[out, groups]`
    /// @param zeros U8 `[out, groups]`; all `middleCode` where the grid is symmetric
    /// @param groupIndex I32 `[in]`, or null where groups are contiguous
    record Grouped(
            Encoding.Grid<Codes.Ints> grid,
            long inFeatures,
            Tensor codes,
            Tensor scales,
            Tensor zeros,
            Tensor groupIndex)
            implements Weight {
        public Grouped {
            long out = codes.rows();
            long groups = grid.tiles().across(inFeatures);
            boolean fits =
                    codes.dtype() == DType.I32
                            && codes.is(out, grid.codes().words(inFeatures))
                            && scales.dtype().isFloat()
                            && scales.is(out, groups)
                            && zeros.dtype() == DType.U8
                            && zeros.is(out, groups)
                            && (groupIndex == null
                                    || groupIndex.dtype() == DType.I32
                                            && groupIndex.isVector(inFeatures));
            if (!fits) {
                throw new IllegalArgumentException(
                        "%s of %d inputs does not fit codes %s, scales %s, zeros %s, group index %s"
                                .formatted(grid, inFeatures, codes, scales, zeros, groupIndex));
            }
        }

        @Override
        public long outFeatures() {
            return codes.rows();
        }

        @Override
        public Encoding encoding() {
            return grid;
        }

        @Override
        public DType valueType() {
            return scales.dtype();
        }

        @Override
        public Stream<Tensor> tensors() {
            Stream<Tensor> always = Stream.of(codes, scales, zeros);
            return groupIndex == null ? always : Stream.concat(always, Stream.of(groupIndex));
        }

        @Override
        public Weight with(UnaryOperator<Tensor> f) {
            return new Grouped(
                    grid,
                    inFeatures,
                    f.apply(codes),
                    f.apply(scales),
                    f.apply(zeros),
                    groupIndex == null ? null : f.apply(groupIndex));
        }

        @Override
        public Weight rows(long from, long to) {
            return new Grouped(
                    grid,
                    inFeatures,
                    codes.rows(from, to),
                    scales.rows(from, to),
                    zeros.rows(from, to),
                    groupIndex);
        }
    }

    /// Small floats with a scale a tile: `w[o,i] = round(value(code[o,i]) * scale[tile])`. `round`
    /// goes to the dtype of the scales where they are plain floats, else to BF16, as readers of
    /// such files compute.
    ///
    /// @param codes F8_E4M3 `[out, in]`; of F4 two to a byte, U8 `[out, in/2]`, the first in the
    ///   lower half
    /// @param scales one a tile, `[out, 1]` for a scale a row, `[1, 1]` for one: F32, F16 or BF16;
    ///   U8 for [ScaleKind#POWER]; F8_E4M3 for [ScaleKind#NESTED]
    /// @param global what nested scales are divided by, F32 `[1]`; null for others
    record Scaled(Encoding.Grid<Codes.Floats> grid, Tensor codes, Tensor scales, Tensor global)
            implements Weight {
        public Scaled {
            boolean packed = grid.codes().type() == DType.F4;
            long in = packed ? 2 * codes.cols() : codes.cols();
            boolean typed =
                    switch (grid.scales()) {
                        case FLOAT -> scales.dtype().isFloat() && global == null;
                        case POWER -> scales.dtype() == DType.U8 && global == null;
                        case NESTED ->
                                scales.dtype() == DType.F8_E4M3
                                        && global != null
                                        && global.dtype() == DType.F32
                                        && global.isVector(1);
                    };
            boolean fits =
                    codes.dtype() == (packed ? DType.U8 : grid.codes().type())
                            && codes.shape().rank() == 2
                            && typed
                            && scales.is(grid.tiles().down(codes.rows()), grid.tiles().across(in));
            if (!fits) {
                throw new IllegalArgumentException(
                        "%s does not fit codes %s, scales %s, global scale %s"
                                .formatted(grid, codes, scales, global));
            }
        }

        /// Of scales that are no nested ones.
        public Scaled(Encoding.Grid<Codes.Floats> grid, Tensor codes, Tensor scales) {
            this(grid, codes, scales, null);
        }

        @Override
        public long outFeatures() {
            return codes.rows();
        }

        @Override
        public long inFeatures() {
            return grid.codes().type() == DType.F4 ? 2 * codes.cols() : codes.cols();
        }

        @Override
        public Encoding encoding() {
            return grid;
        }

        @Override
        public DType valueType() {
            return grid.scales() == ScaleKind.FLOAT ? scales.dtype() : DType.BF16;
        }

        /// The scale of a tile, counted row by row; the tensors must be in memory of the host.
        public float scale(long tile) {
            return switch (grid.scales()) {
                case FLOAT -> Floats.get(scales.bytes(), scales.dtype(), tile);
                case POWER ->
                        ScaleKind.power(scales.bytes().get(ValueLayout.JAVA_BYTE, tile) & 0xff);
                case NESTED ->
                        Codes.Floats.E4M3.value(scales.bytes().get(ValueLayout.JAVA_BYTE, tile))
                                / Floats.get(global.bytes(), DType.F32, 0);
            };
        }

        @Override
        public Stream<Tensor> tensors() {
            return global == null ? Stream.of(codes, scales) : Stream.of(codes, scales, global);
        }

        @Override
        public Weight with(UnaryOperator<Tensor> f) {
            return new Scaled(
                    grid, f.apply(codes), f.apply(scales), global == null ? null : f.apply(global));
        }

        @Override
        public long together() {
            return grid.tiles().rows() == Tiles.ALL ? 1 : grid.tiles().rows();
        }

        @Override
        public Weight rows(long from, long to) {
            if (from % together() != 0) {
                throw new IllegalArgumentException(
                        "rows from %d on share scales with those before: %s".formatted(from, grid));
            }
            // One scale for the whole is that of each part.
            long height = grid.tiles().height(outFeatures());
            return new Scaled(
                    grid,
                    codes.rows(from, to),
                    scales.rows(from / height, Math.ceilDiv(to, height)),
                    global);
        }
    }

    /// Blocks along each row that hold their scales themselves. The values are F32.
    ///
    /// @param blocks U8 `[out, bytes of a row]`; what the last block of a row has beyond
    ///   `inFeatures` is ignored
    record Blocks(BlockType type, long inFeatures, Tensor blocks) implements Weight {
        public Blocks {
            if (blocks.dtype() != DType.U8
                    || !blocks.is(blocks.rows(), type.rowBytes(inFeatures))) {
                throw new IllegalArgumentException(
                        "%d inputs in blocks of %s do not fit %s"
                                .formatted(inFeatures, type, blocks));
            }
        }

        @Override
        public long outFeatures() {
            return blocks.rows();
        }

        @Override
        public Encoding encoding() {
            return new Encoding.Blocks(type);
        }

        @Override
        public DType valueType() {
            return DType.F32;
        }

        @Override
        public Stream<Tensor> tensors() {
            return Stream.of(blocks);
        }

        @Override
        public Weight with(UnaryOperator<Tensor> f) {
            return new Blocks(type, inFeatures, f.apply(blocks));
        }

        @Override
        public Weight rows(long from, long to) {
            return new Blocks(type, inFeatures, blocks.rows(from, to));
        }
    }
}
