// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import io.llmc.formats.HfConfig;
import io.llmc.formats.Range;
import java.util.List;
import java.util.stream.IntStream;

/// Which layers of a model have another mixer than attention.
final class Hybrid {
    private Hybrid() {}

    /// By `layer_types`; where it is absent, by `full_attention_interval`.
    ///
    /// @param other what `layer_types` calls the other mixer
    static List<Boolean> layers(HfConfig c, int layers, String other) {
        List<String> types = c.texts("layer_types");
        if (types.isEmpty()) {
            int interval = c.integer("full_attention_interval", Range.upTo(10_000), 4);
            return IntStream.range(0, layers).mapToObj(i -> (i + 1) % interval != 0).toList();
        }
        return types(c, "layer_types", types, layers, other);
    }

    /// @param types one for each layer
    static List<Boolean> types(
            HfConfig c, String key, List<String> types, int layers, String other) {
        if (types.size() != layers || !List.of(other, Sizes.GLOBAL).containsAll(types)) {
            throw c.wrong(
                    key,
                    "%d of %s and %s, one for each layer".formatted(layers, other, Sizes.GLOBAL));
        }
        return types.stream().map(other::equals).toList();
    }
}
