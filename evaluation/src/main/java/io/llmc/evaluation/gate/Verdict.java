// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.gate;

import java.util.LinkedHashMap;
import java.util.SequencedMap;

/// What became of a gate.
///
/// @param value of its figure; NaN where that is no number
public record Verdict(Gate gate, double value) {
    public boolean passed() {
        return gate.relation().holds(value, gate.bound());
    }

    /// `kld_mean is 0.0712, expected < 0.05`
    public String sentence() {
        return "%s is %s, expected %s %s"
                .formatted(
                        gate.figure(), found(), gate.relation().sign(), Gate.number(gate.bound()));
    }

    /// The figure to as many digits as tell it from the bound.
    public String found() {
        return Double.isNaN(value) ? "no number" : shortest(value);
    }

    private String shortest(double exact) {
        for (int digits = 4; digits < 17; digits++) {
            double rounded = Double.parseDouble(("%." + (digits - 1) + "e").formatted(exact));
            if (Double.compare(rounded, gate.bound()) == Double.compare(exact, gate.bound())) {
                return Gate.number(rounded);
            }
        }
        return Gate.number(exact);
    }

    public SequencedMap<String, Object> toMap() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("figure", gate.figure());
        map.put("relation", gate.relation().sign());
        map.put("bound", gate.bound());
        map.put("value", Double.isNaN(value) ? null : value);
        map.put("passed", passed());
        return map;
    }
}
