// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// What numbers a linear layer's matrix is made of, independent of algorithm and of file layout.
/// [Weight] has a record that holds them for each.
public sealed interface Encoding {
    /// For people: `4 bits, groups of 64, symmetric`.
    String describe();

    /// Plain values.
    ///
    /// @param type F32, F16 or BF16
    record Dense(DType type) implements Encoding {
        @Override
        public String describe() {
            return type.toString();
        }
    }

    /// Codes with a scale for each tile.
    record Grid<C extends Codes>(C codes, Tiles tiles, ScaleKind scales) implements Encoding {
        /// With scales that are [ScaleKind#FLOAT].
        public Grid(C codes, Tiles tiles) {
            this(codes, tiles, ScaleKind.FLOAT);
        }

        @Override
        public String describe() {
            return switch (codes) {
                case Codes.Ints(int bits, boolean symmetric) ->
                        "%d bits, %s, %s"
                                .formatted(
                                        bits,
                                        tiles.describe(),
                                        symmetric ? "symmetric" : "asymmetric");
                case Codes.Floats(DType type) ->
                        type
                                + ", "
                                + tiles.describe()
                                + switch (scales) {
                                    case FLOAT -> "";
                                    case POWER -> ", powers of two as scales";
                                    case NESTED -> ", F8_E4M3 scales";
                                };
            };
        }
    }

    /// Blocks that hold codes and scales together.
    record Blocks(BlockType type) implements Encoding {
        @Override
        public String describe() {
            return type.toString();
        }
    }

    /// An integer grid along the input.
    ///
    /// @param bits 2 to 8
    /// @param groupSize weights that share a scale; [Tiles#ALL] for a whole row
    static Grid<Codes.Ints> ints(int bits, int groupSize, boolean symmetric) {
        return new Grid<>(new Codes.Ints(bits, symmetric), Tiles.groups(groupSize));
    }
}
