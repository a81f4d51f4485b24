// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import io.llmc.formats.RopeConfig;
import io.llmc.formats.RopeScaling;

/// How a layer turns queries and keys.
///
/// @param rotated dimensions of a head that turn, the first ones; even
/// @param interleaved pairs are (2k, 2k+1), else (k, k + rotated/2)
public record RopeSpec(RopeConfig config, int rotated, boolean interleaved) {
    public RopeSpec {
        boolean fits = rotated >= 2 && rotated % 2 == 0;
        if (config.scaling() instanceof RopeScaling.LongRope s) {
            fits &= s.shortFactors().size() == rotated / 2 && s.longFactors().size() == rotated / 2;
        }
        if (!fits || config.scaling() instanceof RopeScaling.Dynamic && rotated == 2) {
            throw new IllegalArgumentException(rotated + " dimensions do not turn by " + config);
        }
    }

    /// Whether positions turn by other angles in a longer sequence.
    public boolean dependsOnLength() {
        return switch (config.scaling()) {
            case RopeScaling.Dynamic _, RopeScaling.LongRope _ -> true;
            case RopeScaling.None _,
                    RopeScaling.Linear _,
                    RopeScaling.Llama3 _,
                    RopeScaling.Yarn _ ->
                    false;
        };
    }
}
