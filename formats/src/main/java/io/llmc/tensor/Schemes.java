// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Optional;
import java.util.SequencedMap;

/// How each linear layer of a model is quantized.
///
/// @param byLinear in the order of the model; layers that stay plain are absent
/// @param kvCache how cached keys and values are rounded; empty where they are not
public record Schemes(SequencedMap<String, Scheme> byLinear, Optional<CacheScheme> kvCache) {
    public Schemes {
        byLinear = Collections.unmodifiableSequencedMap(new LinkedHashMap<>(byLinear));
    }
}
