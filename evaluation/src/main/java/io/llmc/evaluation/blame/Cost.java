// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import java.util.LinkedHashMap;
import java.util.SequencedMap;

/// What one part of the compressed model costs, by itself in the original.
///
/// @param pattern what `ignore` takes for it
/// @param kld mean divergence `KL(original || original with the part)`, nats a token
/// @param error its standard error, over tokens as if they were independent
/// @param share of the sum over all parts; 0 where nothing costs anything
/// @param saved bytes that the part is smaller than the original's
public record Cost(
        String name, String pattern, double kld, double error, double share, long saved) {
    SequencedMap<String, Object> toMap() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("name", name);
        map.put("kld", kld);
        map.put("kld_stderr", finite(error));
        map.put("share", share);
        map.put("bytes_saved", saved);
        return map;
    }

    /// Null where it is none, as the error of a single token.
    static Double finite(double value) {
        return Double.isFinite(value) ? value : null;
    }
}
