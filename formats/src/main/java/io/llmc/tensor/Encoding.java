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

        /// The scale that a tile gets whose largest magnitude is `largest`, as it is stored: codes
        /// are made with `stored / global`. All that chooses scales, of weights and of inputs, asks
        /// here; a tile of zeros gets some scale that is not 0.
        ///
        /// - [ScaleKind#FLOAT]: `largest / reach`.
        /// - [ScaleKind#POWER]: 2 to the exponent of `largest`, rounded up from 7/4 of a power on,
        ///   less that of `reach`, so that the largest may be cut off: by a seventh at most. 2^128,
        ///   which is NaN, where `largest` is not finite.
        /// - [ScaleKind#NESTED]: `global * (largest / reach)`.
        ///
        /// @param type what `largest / reach` is rounded to: the type of scales that are floats,
        ///   else that of the numbers at hand
        /// @param global what nested scales are divided by; 1 for others
        public float scale(float largest, DType type, float global) {
            float reach = codes.reach();
            if (scales == ScaleKind.POWER) {
                return ScaleKind.power(ScaleKind.exponent(largest, Math.getExponent(reach)));
            }
            float exact = Floats.round(largest / reach, type);
            if (scales == ScaleKind.NESTED) {
                float stored = Codes.Floats.E4M3.nearest(global * exact);
                return stored == 0 ? ScaleKind.NESTED_ZERO : stored;
            }
            return exact == 0 ? Floats.round(1 / reach, type) : exact;
        }

        /// What nested scales are divided by in a matrix whose largest magnitude is `largest`, so
        /// that the largest scale is the largest number of F8_E4M3.
        ///
        /// @param type that of the numbers at hand, which the quotient is rounded to
        public float global(float largest, DType type) {
            return Floats.round(Codes.Floats.E4M3.reach() * codes.reach() / largest, type);
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
