// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

/// How positions become rotations, whichever spelling the config has.
///
/// @param theta the base
/// @param partialRotaryFactor the part of a head that rotates; 1 where the config has none
/// @param maxPositions longest sequence
public record RopeConfig(
        double theta, double partialRotaryFactor, int maxPositions, RopeScaling scaling) {
    /// What a family's config leaves out.
    ///
    /// @param theta `rope_theta`
    /// @param localTheta the same for layers with a window; 0 where they have none of their own
    /// @param maxPositions `max_position_embeddings`
    /// @param originalPositions `original_max_position_embeddings`; 0 for none of its own
    /// @param part `partial_rotary_factor`
    public record Defaults(
            double theta, double localTheta, int maxPositions, int originalPositions, double part) {
        public Defaults(double theta, double localTheta, int maxPositions, int originalPositions) {
            this(theta, localTheta, maxPositions, originalPositions, 1);
        }

        public static Defaults of(double theta, int maxPositions) {
            return new Defaults(theta, 0, maxPositions, 0);
        }

        public Defaults turning(double partOfAHead) {
            return new Defaults(theta, localTheta, maxPositions, originalPositions, partOfAHead);
        }
    }
}
