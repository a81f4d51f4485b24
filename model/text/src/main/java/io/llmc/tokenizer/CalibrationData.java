// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.util.Arrays;

/// Cuts a text into the windows that a method learns from: tokenized once, without special tokens,
/// as llm-compressor and GPTQ's own code do, then cut without overlap.
public final class CalibrationData {
    private CalibrationData() {}

    /// @throws UserException where the text is too short
    /// @throws FormatException where it is not text
    public static Windows load(CalibrationSpec spec, Tokenizer tokenizer) {
        int needed = spec.samples() * spec.length();
        boolean first = spec.order() == CalibrationSpec.Order.FIRST;
        int[] ids = TextFiles.tokens(spec.data(), tokenizer, first ? needed : Integer.MAX_VALUE);
        if (ids.length < needed) {
            throw tooShort(spec, ids.length, needed);
        }
        int[] windows =
                first
                        ? firstOf(spec.samples())
                        : draw(spec.samples(), ids.length / spec.length(), spec.seed());
        int[] chosen = new int[needed];
        for (int i = 0; i < windows.length; i++) {
            System.arraycopy(
                    ids, windows[i] * spec.length(), chosen, i * spec.length(), spec.length());
        }
        return Windows.of(chosen, spec.length());
    }

    private static UserException tooShort(CalibrationSpec spec, int tokens, int needed) {
        int windows = tokens / spec.length();
        return new UserException(
                "%s has %,d tokens, but %,d windows of %,d need %,d"
                        .formatted(spec.data(), tokens, spec.samples(), spec.length(), needed),
                windows > 0
                        ? "lower {calibration.samples} to %d, lower {calibration.length}, or give a longer text"
                                .formatted(windows)
                        : "lower {calibration.length} to %d or less, or give a longer text"
                                .formatted(tokens));
    }

    private static int[] firstOf(int count) {
        int[] all = new int[count];
        Arrays.setAll(all, i -> i);
        return all;
    }

    /// `count` of `0 .. from-1`, in rising order: Fisher-Yates over SplitMix64, so that a seed
    /// means the same windows everywhere and for ever.
    static int[] draw(int count, int from, long seed) {
        int[] all = firstOf(from);
        long state = seed;
        for (int i = 0; i < count; i++) {
            state += 0x9e3779b97f4a7c15L;
            long z = (state ^ (state >>> 30)) * 0xbf58476d1ce4e5b9L;
            z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
            z ^= z >>> 31;
            int j = i + (int) Math.unsignedMultiplyHigh(z, from - i);
            int swapped = all[i];
            all[i] = all[j];
            all[j] = swapped;
        }
        int[] drawn = Arrays.copyOf(all, count);
        Arrays.sort(drawn);
        return drawn;
    }
}
