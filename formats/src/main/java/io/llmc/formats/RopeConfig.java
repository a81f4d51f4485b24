// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;

/// How positions become rotations, whichever spelling the config has.
///
/// @param type `default`, `linear`, `dynamic`, `llama3`, `yarn`, `longrope`, or what else the file
///   says; `su` is read as `longrope`
/// @param theta the base; 10000 where the config has none
/// @param partialRotaryFactor the part of a head that rotates; 1 where the config has none
/// @param originalMaxPositions from these parameters, else `original_max_position_embeddings`, else
///   `maxPositions`
/// @param maxPositions `max_position_embeddings`, or `n_positions`; 0 where the config has neither
/// @param parameters everything the file says about it, under the names of `rope_parameters`:
///   `rope_theta` and `partial_rotary_factor` are there only where the file has them
public record RopeConfig(
        String type,
        double theta,
        double partialRotaryFactor,
        int originalMaxPositions,
        int maxPositions,
        ObjectNode parameters) {

    public double number(String key, double absent) {
        JsonNode value = parameters.get(key);
        return value == null || !value.isNumber() ? absent : value.doubleValue();
    }

    /// Empty where absent.
    public double[] numbers(String key) {
        JsonNode value = parameters.get(key);
        if (value == null || !value.isArray()) {
            return new double[0];
        }
        return value.valueStream().mapToDouble(JsonNode::doubleValue).toArray();
    }

    public boolean flag(String key, boolean absent) {
        JsonNode value = parameters.get(key);
        return value == null || !value.isBoolean() ? absent : value.booleanValue();
    }
}
