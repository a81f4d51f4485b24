// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import io.llmc.formats.UserException;
import io.llmc.tokenizer.Windows;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.OptionalInt;

/// Windows of a text, and which of their rows count: row `r` of a window predicts its token `r +
/// 1`.
///
/// @param firstRow of each window
/// @param endRow of each window, exclusive
public record ScoredWindows(Windows windows, int[] firstRow, int[] endRow) {

    /// @param ids the whole text without special tokens
    /// @param bos the token that the tokenizer puts before a text
    /// @throws UserException where the text is too short
    public static ScoredWindows of(int[] ids, EvalSpec spec, OptionalInt bos) {
        return switch (spec.convention()) {
            case GPTQ -> apart(ids, spec, 0);
            case LLAMA_CPP -> llamaCpp(ids, spec, bos);
            case SLIDING -> sliding(ids, spec);
        };
    }

    /// Every row of sequences, as a dump of logits has it.
    static ScoredWindows allRows(Windows windows) {
        int[] end = new int[windows.count()];
        Arrays.fill(end, windows.length());
        return new ScoredWindows(windows, new int[windows.count()], end);
    }

    private static ScoredWindows apart(int[] ids, EvalSpec spec, int firstRow) {
        int length = spec.window();
        int count = limit(ids.length / length, spec);
        if (count == 0) {
            throw new UserException(
                    "%s has %,d tokens, fewer than one window of %,d"
                            .formatted(spec.data(), ids.length, length),
                    "lower {window} to at most %d, or give a longer text".formatted(ids.length));
        }
        int[] first = new int[count];
        int[] end = new int[count];
        Arrays.fill(first, firstRow);
        Arrays.fill(end, length - 1);
        return new ScoredWindows(
                Windows.of(Arrays.copyOf(ids, count * length), length), first, end);
    }

    private static ScoredWindows llamaCpp(int[] ids, EvalSpec spec, OptionalInt bos) {
        return ofChunks(begun(ids, bos), spec, bos);
    }

    /// The text as llama.cpp has it: with BOS before it where the tokenizer adds one.
    static int[] begun(int[] ids, OptionalInt bos) {
        if (bos.isEmpty()) {
            return ids;
        }
        int[] text = new int[ids.length + 1];
        text[0] = bos.getAsInt();
        System.arraycopy(ids, 0, text, 1, ids.length);
        return text;
    }

    /// @param text as [#begun] has it
    static ScoredWindows ofChunks(int[] text, EvalSpec spec, OptionalInt bos) {
        int[] chunks = text.clone();
        if (bos.isPresent()) {
            for (int i = 0; i < chunks.length; i += spec.window()) {
                chunks[i] = bos.getAsInt();
            }
        }
        return apart(chunks, spec, spec.window() / 2);
    }

    private static ScoredWindows sliding(int[] ids, EvalSpec spec) {
        int length = spec.window();
        if (ids.length < 2) {
            throw new UserException(
                    "%s has %d tokens, expected at least 2".formatted(spec.data(), ids.length),
                    "give a longer text");
        }
        int count = limit(1 + Math.ceilDiv(Math.max(0, ids.length - length), spec.stride()), spec);
        int[] chosen = new int[Math.multiplyExact(count, length)];
        int[] first = new int[count];
        int[] end = new int[count];
        int scored = 1;
        for (int w = 0; w < count; w++) {
            int begin = w * spec.stride();
            int stop = Math.min(begin + length, ids.length);
            // A short last window is filled up with zeros: no row that counts looks to the right.
            System.arraycopy(ids, begin, chosen, w * length, stop - begin);
            first[w] = scored - begin - 1;
            end[w] = stop - begin - 1;
            scored = stop;
        }
        return new ScoredWindows(Windows.of(chosen, length), first, end);
    }

    private static int limit(int count, EvalSpec spec) {
        return spec.maxWindows() == 0 ? count : Math.min(count, spec.maxWindows());
    }

    public int count() {
        return windows.count();
    }

    /// Rows that count.
    public int rows() {
        long rows = 0;
        for (int w = 0; w < count(); w++) {
            rows += endRow[w] - firstRow[w];
        }
        return Math.toIntExact(rows);
    }

    /// Windows `[from, to)`.
    public ScoredWindows range(int from, int to) {
        return new ScoredWindows(
                new Windows(windows.range(from, to), to - from, windows.length()),
                Arrays.copyOfRange(firstRow, from, to),
                Arrays.copyOfRange(endRow, from, to));
    }

    /// The tokens that the rows that count should predict, in their order.
    int[] targets() {
        int[] targets = new int[rows()];
        int i = 0;
        for (int w = 0; w < count(); w++) {
            for (int r = firstRow[w]; r < endRow[w]; r++) {
                targets[i++] =
                        windows.ids()
                                .getAtIndex(
                                        ValueLayout.JAVA_INT, (long) w * windows.length() + r + 1);
            }
        }
        return targets;
    }

    /// @throws UserException where a token is outside of a model's vocabulary
    public void requireBelow(int vocabulary, Object model) {
        windows.firstOutside(vocabulary)
                .ifPresent(at -> {
                    throw new UserException(
                            "token id %d at position %,d is outside of the vocabulary of %s: 0 to %,d"
                                    .formatted(windows.id(at), at, model, vocabulary - 1),
                            "the tokenizer must be the one that belongs to the model");
                });
    }
}
