// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.nio.file.Path;
import java.util.Arrays;

/// Cuts texts into the windows that a method learns from: tokenized once, without special tokens,
/// as llm-compressor and GPTQ's own code do, then cut without overlap. One text is in memory at a
/// time.
public final class CalibrationData {
    private CalibrationData() {}

    /// Windows of every file in proportion to its weight, file after file.
    ///
    /// @throws UserException where a text is too short
    /// @throws FormatException where it is not text
    public static Windows load(CalibrationSpec spec, Tokenizer tokenizer) {
        int[] counts = counts(spec);
        int[] chosen = new int[spec.samples() * spec.length()];
        int at = 0;
        for (int f = 0; f < counts.length; f++) {
            int[] part = windows(spec, f, counts[f], tokenizer);
            System.arraycopy(part, 0, chosen, at, part.length);
            at += part.length;
        }
        return Windows.of(chosen, spec.length());
    }

    /// Windows of each file.
    private static int[] counts(CalibrationSpec spec) {
        Shares shares = new Shares(spec.data().stream().mapToInt(WeightedText::weight).toArray());
        int[] counts = new int[spec.data().size()];
        for (int k = 0; k < spec.samples(); k++) {
            counts[shares.turn(k).source()]++;
        }
        for (int f = 0; f < counts.length; f++) {
            if (counts[f] == 0) {
                throw new UserException(
                        "%s would give none of the %,d calibration windows"
                                .formatted(spec.data().get(f).file(), spec.samples()),
                        "raise its weight or {calibration.samples}, or leave it out");
            }
        }
        return counts;
    }

    /// More windows of the same texts, none of which [#load] gives. They are numbered in the order
    /// in which they would be drawn next, file after file.
    ///
    /// @param numbers rising; those behind the last window are left out
    /// @return null where none is left
    public static Windows more(CalibrationSpec spec, Tokenizer tokenizer, int[] numbers) {
        int[] counts = counts(spec);
        int length = spec.length();
        int[] chosen = new int[numbers.length * length];
        int taken = 0;
        int before = 0;
        for (int f = 0; f < counts.length && taken < numbers.length; f++) {
            int[] ids = TextFiles.tokens(spec.data().get(f).file(), tokenizer, Integer.MAX_VALUE);
            int all = ids.length / length;
            int[] order =
                    spec.order() == CalibrationSpec.Order.FIRST
                            ? firstOf(all)
                            : shuffled(all, all, seed(spec, f));
            int left = all - counts[f];
            for (; taken < numbers.length && numbers[taken] < before + left; taken++) {
                int window = order[counts[f] + numbers[taken] - before];
                System.arraycopy(ids, window * length, chosen, taken * length, length);
            }
            before += left;
        }
        return taken == 0 ? null : Windows.of(Arrays.copyOf(chosen, taken * length), length);
    }

    /// A text alone has the windows that it has had before there were several.
    private static long seed(CalibrationSpec spec, int file) {
        return spec.seed() + file * 0xd1b54a32d192ed03L;
    }

    private static int[] windows(CalibrationSpec spec, int file, int count, Tokenizer tokenizer) {
        Path path = spec.data().get(file).file();
        int length = spec.length();
        int needed = count * length;
        boolean first = spec.order() == CalibrationSpec.Order.FIRST;
        int[] ids = TextFiles.tokens(path, tokenizer, first ? needed : Integer.MAX_VALUE);
        if (ids.length < needed) {
            throw tooShort(spec, path, count, ids.length);
        }
        int[] windows = first ? firstOf(count) : draw(count, ids.length / length, seed(spec, file));
        int[] chosen = new int[needed];
        for (int i = 0; i < count; i++) {
            System.arraycopy(ids, windows[i] * length, chosen, i * length, length);
        }
        return chosen;
    }

    private static UserException tooShort(CalibrationSpec spec, Path file, int count, int tokens) {
        int windows = tokens / spec.length();
        String fewer = spec.data().size() == 1 ? " to " + windows : " or the weight of this file";
        return new UserException(
                "%s has %,d tokens, but %,d windows of %,d need %,d"
                        .formatted(file, tokens, count, spec.length(), count * spec.length()),
                windows > 0
                        ? "lower {calibration.samples}%s, lower {calibration.length}, or give a longer text"
                                .formatted(fewer)
                        : "lower {calibration.length} to %d or less, or give a longer text"
                                .formatted(tokens));
    }

    private static int[] firstOf(int count) {
        int[] all = new int[count];
        Arrays.setAll(all, i -> i);
        return all;
    }

    /// `count` of `0 .. from-1`, in rising order.
    static int[] draw(int count, int from, long seed) {
        int[] drawn = Arrays.copyOf(shuffled(count, from, seed), count);
        Arrays.sort(drawn);
        return drawn;
    }

    /// `0 .. from-1` with `count` drawn to the beginning: Fisher-Yates over SplitMix64, so that a
    /// seed means the same windows everywhere and for ever.
    private static int[] shuffled(int count, int from, long seed) {
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
        return all;
    }
}
