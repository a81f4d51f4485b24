// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import java.util.List;
import java.util.SequencedMap;

/// What a pass found about one layer.
///
/// @param module the layer's name
/// @param values figures with JSON values, the same for every run: `method`, `relative_error`, ...;
///   a number that is not finite becomes null, since JSON has none
/// @param seconds time spent; never part of an output file, which must not differ between runs
/// @param warnings sentences that the user must see
public record ModuleReport(
        String module, SequencedMap<String, Object> values, double seconds, List<String> warnings) {
    public ModuleReport {
        values = Finite.figures(values);
    }
}
