// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import io.llmc.formats.UserException;
import io.llmc.model.decoding.CacheSettings;
import io.llmc.model.decoding.CacheType;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.tensor.DType;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;

/// What to time.
///
/// @param against the original; null for none
/// @param prefill lengths of prompts
/// @param depths tokens that are cached when decoding begins
/// @param batches sequences that are decoded together
/// @param steps of decoding in one measurement
/// @param repeats measurements of each kind, the models in turns
/// @param cache type of cached keys and values
public record LatencySpec(
        Path against,
        List<Integer> prefill,
        List<Integer> depths,
        List<Integer> batches,
        int steps,
        int repeats,
        DType cache) {
    /// Tokens that go through in one pass.
    static final int ROWS = 512;

    private static final Option<List<Integer>> PREFILL =
            Option.integers("prefill", "Lengths of prompts to time (default: 128,512,2048).")
                    .flagged("--latency-prefill")
                    .within("at least 1", LatencySpec::positive);

    private static final Option<List<Integer>> DEPTHS =
            Option.integers(
                            "depths",
                            "Cached tokens behind which decoding is timed (default:"
                                    + " 16,512,2048).")
                    .flagged("--latency-depths")
                    .within("at least 1", LatencySpec::positive);

    private static final Option<List<Integer>> BATCHES =
            Option.integers("batches", "Sequences to decode together (default: 1,8).")
                    .flagged("--latency-batches")
                    .within("at least 1", LatencySpec::positive);

    private static final Option<Integer> STEPS =
            Option.integer("steps", 16, "Steps of decoding in one measurement (default: %s).")
                    .flagged("--latency-steps")
                    .within("at least 1", n -> n >= 1);

    private static final Option<Integer> REPEATS =
            Option.integer(
                            "repeats",
                            5,
                            "Measurements of each kind, the models in turns (default: %s).")
                    .flagged("--latency-repeats")
                    .within("at least 3", n -> n >= 3);

    private static final Option<CacheType> CACHE =
            Option.choice(
                            "cache",
                            CacheType.class,
                            CacheType.F32,
                            "How cached keys and values are kept (default: %s).")
                    .flagged("--latency-cache");

    static final List<Option<?>> OPTIONS = List.of(PREFILL, DEPTHS, BATCHES, STEPS, REPEATS, CACHE);

    static LatencySpec read(Options o, Path against) {
        return new LatencySpec(
                against,
                or(PREFILL.read(o), 128, 512, 2048),
                or(DEPTHS.read(o), 16, 512, 2048),
                or(BATCHES.read(o), 1, 8),
                STEPS.read(o),
                REPEATS.read(o),
                CACHE.read(o).dtype());
    }

    private static boolean positive(List<Integer> numbers) {
        return numbers.stream().allMatch(n -> n > 0);
    }

    private static List<Integer> or(List<Integer> given, Integer... usual) {
        return given == null || given.isEmpty() ? List.of(usual) : given;
    }

    /// Without what is longer than the positions of a model.
    ///
    /// @throws UserException where nothing is left
    LatencySpec within(int positions) {
        List<Integer> shorter = prefill.stream().filter(n -> n <= positions).toList();
        List<Integer> nearer = depths.stream().filter(n -> n + steps <= positions).toList();
        if (shorter.isEmpty() && nearer.isEmpty()) {
            throw new UserException(
                    "the models have %,d positions, too few for any measurement of speed"
                            .formatted(positions),
                    "");
        }
        return new LatencySpec(against, shorter, nearer, batches, steps, repeats, cache);
    }

    CacheSettings settings() {
        int prompt = prefill.isEmpty() ? 0 : Collections.max(prefill);
        int depth = depths.isEmpty() ? 0 : Collections.max(depths);
        int batch = Collections.max(batches);
        // Sequences of a batch have their first tokens in common.
        long decoding = depth + (long) batch * (steps + ROWS / 8);
        return new CacheSettings(
                Math.max(prompt, decoding),
                batch + 1,
                Math.max(batch, Math.min(ROWS, Math.max(prompt, depth))),
                cache,
                0);
    }
}
