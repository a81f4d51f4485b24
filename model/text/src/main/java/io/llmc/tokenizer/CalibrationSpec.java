// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.UserException;
import java.nio.file.Path;
import java.util.List;

/// Which tokens a method learns from.
///
/// @param data the files, and how much of each; none for text that the model writes itself
/// @param samples windows
/// @param length tokens of each
/// @param order which windows of each file
/// @param seed draws them where the order is random, and the model's own text
/// @param coverage what they reach in the model is shown before the work
public record CalibrationSpec(
        List<WeightedText> data,
        int samples,
        int length,
        Order order,
        long seed,
        boolean coverage) {
    /// Which windows of a text are taken.
    public enum Order {
        /// Drawn without replacement, then in the order of the text.
        RANDOM,
        /// From the beginning of the text.
        FIRST
    }

    /// Of one file.
    public CalibrationSpec(Path data, int samples, int length, Order order, long seed) {
        this(List.of(new WeightedText(data, 1)), samples, length, order, seed, false);
    }

    /// Whether the model writes the text.
    public boolean isOwn() {
        return data.isEmpty();
    }

    /// The same with another number of windows.
    public CalibrationSpec with(int otherSamples) {
        return new CalibrationSpec(data, otherSamples, length, order, seed, coverage);
    }

    /// @throws UserException naming the flag whose value cannot be
    public CalibrationSpec {
        if (samples < 1) {
            throw new UserException(
                    "{calibration.samples} is %d, expected at least 1".formatted(samples), "");
        }
        if (length < 2) {
            throw new UserException(
                    "{calibration.length} is %d, expected at least 2".formatted(length), "");
        }
        if ((long) samples * length > Integer.MAX_VALUE) {
            throw new UserException(
                    "%d windows of %d tokens are more than 2^31 tokens".formatted(samples, length),
                    "lower {calibration.samples} or {calibration.length}");
        }
    }
}
