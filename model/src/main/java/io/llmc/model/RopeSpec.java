// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.formats.RopeConfig;

/// How a layer turns queries and keys.
///
/// @param rotated dimensions of a head that turn, the first ones
/// @param interleaved pairs are (2k, 2k+1), else (k, k + rotated/2)
public record RopeSpec(RopeConfig config, int rotated, boolean interleaved) {
    /// All of a head turns, halves paired, but for the config's own partial factor.
    public static RopeSpec of(RopeConfig config, int headDim) {
        return new RopeSpec(config, (int) (headDim * config.partialRotaryFactor()), false);
    }
}
