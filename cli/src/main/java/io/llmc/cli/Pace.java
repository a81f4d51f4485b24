// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.generation.GenerationListener;
import java.util.LinkedHashMap;
import java.util.SequencedMap;
import java.util.function.LongSupplier;

/// How fast tokens come: the first one, and those after it.
final class Pace implements GenerationListener {
    private static final double NANOS = 1e9;

    private final LongSupplier nanoTime;
    private final long start;
    private long first;
    private long last;
    private long tokens;

    Pace(LongSupplier nanoTime) {
        this.nanoTime = nanoTime;
        this.start = nanoTime.getAsLong();
    }

    @Override
    public void token(int prompt, int id) {
        last = nanoTime.getAsLong();
        first = tokens == 0 ? last : first;
        tokens++;
    }

    private double toFirst() {
        return (first - start) / NANOS;
    }

    private double aSecond() {
        return tokens < 2 ? 0 : (tokens - 1) * NANOS / (last - first);
    }

    /// `32 tokens, the first after 0.12 s, then 81.3 a second`
    String sentence() {
        String rest = tokens < 2 ? "" : ", then %.1f a second".formatted(aSecond());
        return tokens == 1
                ? "1 token, after %.2f s".formatted(toFirst())
                : "%,d tokens, the first after %.2f s%s".formatted(tokens, toFirst(), rest);
    }

    SequencedMap<String, Object> json() {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("tokens", tokens);
        json.put("seconds_to_first_token", toFirst());
        json.put("tokens_per_second", tokens < 2 ? null : aSecond());
        return json;
    }
}
