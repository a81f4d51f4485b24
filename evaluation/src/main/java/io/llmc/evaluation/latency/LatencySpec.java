// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import io.llmc.formats.UserException;
import io.llmc.model.decoding.CacheSettings;
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
        Path model,
        Path against,
        List<Integer> prefill,
        List<Integer> depths,
        List<Integer> batches,
        int steps,
        int repeats,
        DType cache) {
    /// Tokens that go through in one pass.
    static final int ROWS = 512;

    private static final Option<Integer> STEPS =
            Option.integer("steps", 16, "Steps of decoding in one measurement (default: %s).")
                    .within("at least 1", n -> n >= 1);

    private static final Option<Integer> REPEATS =
            Option.integer(
                            "repeats",
                            5,
                            "Measurements of each kind, the models in turns (default: %s).")
                    .within("at least 3", n -> n >= 3);

    public static final List<Option<?>> OPTIONS = List.of(STEPS, REPEATS);

    /// The usual lengths, depths and batches.
    public static LatencySpec read(Options o, Path model, Path against) {
        return new LatencySpec(
                model,
                against,
                List.of(128, 512, 2048),
                List.of(16, 512, 2048),
                List.of(1, 8),
                STEPS.read(o),
                REPEATS.read(o),
                DType.F32);
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
        return new LatencySpec(model, against, shorter, nearer, batches, steps, repeats, cache);
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
