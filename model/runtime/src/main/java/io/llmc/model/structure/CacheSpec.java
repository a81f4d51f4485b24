// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

import java.util.List;

/// What an attention layer keeps of the tokens that it has seen.
///
/// @param attention name of the layer: `model.layers.0.self_attn`
/// @param heads that have keys and values
/// @param width channels of a head's keys
/// @param valueWidth channels of a head's values
public record CacheSpec(String attention, int heads, int width, int valueWidth) {
    /// The tensor that keys are divided by, where they are rounded.
    public String keyScales() {
        return attention + ".k_scale";
    }

    public String valueScales() {
        return attention + ".v_scale";
    }

    /// Both.
    public List<String> scales() {
        return List.of(keyScales(), valueScales());
    }

    /// @param turned whether attention reads all of them
    public PageSpec keys(boolean turned) {
        return new PageSpec(attention + ".keys", heads, width, turned);
    }

    public PageSpec values() {
        return new PageSpec(attention + ".values", heads, valueWidth, false);
    }
}
