// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import io.llmc.formats.RopeConfig;
import io.llmc.formats.RopeScaling;

/// How a layer turns queries and keys.
///
/// @param rotated dimensions of a head that turn, the first ones; even
/// @param still of them pairs that come first and do not turn; as many as there are where only the
///   growth counts
/// @param interleaved pairs are (2k, 2k+1), else (k, k + rotated/2)
/// @param growth what is multiplied beside; null for nothing
/// @param back whether angles are negative
/// @param lag how many positions before its own a row turns by, from 0 on
public record RopeSpec(
        RopeConfig config,
        int rotated,
        int still,
        boolean interleaved,
        Growth growth,
        boolean back,
        int lag) {
    /// Numbers grow with their position p, so that scores of long texts stay sharp: by `1 + beta
    /// ln(1 + floor((p + offset) / length))` (Llama 4, Ministral 3).
    public record Growth(double beta, int length, int offset) {
        double at(int position) {
            return 1 + beta * Math.log(1 + Math.floorDiv(position + offset, length));
        }
    }

    public RopeSpec {
        int turning = rotated - 2 * still;
        boolean fits = lag >= 0 && rotated >= 2 && rotated % 2 == 0 && still >= 0 && turning >= 0;
        if (config.scaling() instanceof RopeScaling.LongRope s && turning > 0) {
            fits &= s.shortFactors().size() == turning / 2 && s.longFactors().size() == turning / 2;
        }
        if (!fits || config.scaling() instanceof RopeScaling.Dynamic && turning == 2) {
            throw new IllegalArgumentException(rotated + " dimensions do not turn by " + config);
        }
    }

    public RopeSpec(RopeConfig config, int rotated, boolean interleaved) {
        this(config, rotated, 0, interleaved, null, false, 0);
    }

    /// The same with pairs (2k, 2k+1).
    public RopeSpec inPairs() {
        return new RopeSpec(config, rotated, still, true, growth, back, lag);
    }

    public RopeSpec growing(Growth by) {
        return new RopeSpec(config, rotated, still, interleaved, by, back, lag);
    }

    /// Whole heads that do not turn, but grow.
    public static RopeSpec growingOnly(RopeConfig config, int dim, Growth by) {
        return new RopeSpec(config, dim, dim / 2, false, by, false, 0);
    }

    /// The same behind dimensions of a head that do not turn.
    ///
    /// @param before how many, even
    public RopeSpec behind(int before) {
        if (!interleaved || before % 2 != 0) {
            throw new IllegalArgumentException("only pairs of neighbours turn behind others");
        }
        return new RopeSpec(config, rotated + before, still + before / 2, true, growth, back, lag);
    }

    /// What undoes it.
    public RopeSpec reversed() {
        return new RopeSpec(config, rotated, still, interleaved, growth, !back, lag);
    }

    /// As rows so far before each turn.
    public RopeSpec lagging(int positions) {
        return new RopeSpec(config, rotated, still, interleaved, growth, back, positions);
    }

    /// Dimensions that the frequencies are spread over.
    int turning() {
        return rotated - 2 * still;
    }

    /// Whether positions turn by other angles in a longer sequence.
    public boolean dependsOnLength() {
        return switch (config.scaling()) {
            case RopeScaling.Dynamic _, RopeScaling.LongRope _ -> true;
            case RopeScaling.None _,
                    RopeScaling.Linear _,
                    RopeScaling.Llama3 _,
                    RopeScaling.Yarn _,
                    RopeScaling.Proportional _ ->
                    false;
        };
    }
}
