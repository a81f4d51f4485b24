// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.FormatException;
import io.llmc.formats.Range;
import io.llmc.formats.UserException;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.util.List;
import java.util.Optional;

/// A `quantization_config` that llmc can read weights of.
public interface Quantization {
    /// A file with the same entries as the section of `config.json`, in which some readers look for
    /// them.
    String FILE = "quantize_config.json";

    List<Integer> BITS = List.of(2, 3, 4, 8);

    /// How a linear layer is quantized, as the config alone says it; empty where it is plain.
    Optional<Scheme> scheme(String linear);

    /// Whether its config lets readers expect a group index beside a layer that is not sorted.
    default boolean indexed(String linear) {
        return false;
    }

    /// How cached keys and values are rounded; empty where they are not.
    default Optional<CacheScheme> kvCache() {
        return Optional.empty();
    }

    /// @throws FormatException where a key has another type than expected, or a word is unknown
    /// @throws UserException where it is quantized in a way that llmc does not read
    static Quantization of(ConfigSection section) {
        ConfigSection q = section.withoutNulls();
        return Layouts.FAMILIES.stream()
                .flatMap(family -> family.read(q).stream())
                .findFirst()
                .orElseGet(() -> refuse(q, q.text("quant_method", "an unnamed quant_method")));
    }

    /// Bits of a code, which llmc need not be able to read.
    static int bits(ConfigSection q, String key) {
        return q.integer(key, Range.upTo(64));
    }

    /// Weights in a group; 0 where the key is absent, -1 for whole rows.
    ///
    /// @throws FormatException where it is none of these
    static int groupSize(ConfigSection q) {
        return groupSize(q, "group_size");
    }

    /// As [#groupSize(ConfigSection)], under another key.
    static int groupSize(ConfigSection q, String key) {
        int size = q.integer(key, Range.WHOLE, 0);
        if (q.has(key) && size <= 0 && size != Tiles.ALL) {
            throw q.wrong(key, "a number above 0, or -1 for whole rows");
        }
        return size;
    }

    /// Never returns.
    static <T> T refuse(ConfigSection q, String what) {
        throw new UserException(
                "%s: quantized as %s, but llmc reads %s"
                        .formatted(q.file().getParent(), what, Layouts.names(Layouts.ALL)),
                "start from the original model in F32, F16 or BF16");
    }
}
