// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import io.llmc.distill.spec.DistillSpec;
import io.llmc.formats.UserException;
import io.llmc.tokenizer.Shares;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.List;

/// Windows of one or more texts, each text in a seeded order of its own that is another one in
/// every epoch, drawn in proportion to their weights. Which windows a step sees depends on its
/// number alone, so that a run can go on anywhere.
///
/// All windows have one index: source after source, and in each the training windows before those
/// that are held out.
public final class Batches {
    private final List<Source> sources;
    private final int length;
    private final int batch;
    private final int holdout;
    private final Shares shares;
    private final Orders[] orders;

    /// One text.
    ///
    /// @param ids the whole text, in order
    /// @param training windows to learn from, the first ones of the text
    /// @param holdout windows behind them
    /// @param first index of its first window among those of all sources
    private record Source(int[] ids, int training, int holdout, int first) {}

    private Batches(List<Source> sources, DistillSpec spec) {
        this.sources = sources;
        this.length = spec.length();
        this.batch = spec.batch();
        this.holdout = sources.stream().mapToInt(Source::holdout).sum();
        this.shares = new Shares(spec.weights());
        this.orders = new Orders[sources.size()];
        for (int s = 0; s < orders.length; s++) {
            // A text alone keeps the order that it has had before there were several.
            long seed = spec.seed() + s * 0xd1b54a32d192ed03L;
            orders[s] = new Orders(sources.get(s).training(), seed, spec.order());
        }
    }

    /// @param texts the ids of every file of the specification
    /// @throws UserException where a text is too short
    public static Batches of(List<int[]> texts, DistillSpec spec) {
        int[] windows = texts.stream().mapToInt(ids -> ids.length / spec.length()).toArray();
        int[] held = Holdout.of(spec.holdout(), windows);
        Source[] sources = new Source[windows.length];
        int first = 0;
        for (int s = 0; s < windows.length; s++) {
            int training = windows[s] - held[s];
            if (training < 1) {
                Path file = spec.source(s);
                throw new UserException(
                        "%s has %,d tokens: %d windows of %d, and %d of them are held out"
                                .formatted(
                                        file,
                                        texts.get(s).length,
                                        windows[s],
                                        spec.length(),
                                        held[s]),
                        "give a longer text, lower {length} or lower {holdout}");
            }
            sources[s] = new Source(texts.get(s), training, held[s], first);
            first = Math.addExact(first, windows[s]);
        }
        return new Batches(List.of(sources), spec);
    }

    /// How many windows are only measured.
    public int holdout() {
        return holdout;
    }

    /// How many windows there are, held-out ones too.
    public int windows() {
        Source last = sources.getLast();
        return last.first + last.training + last.holdout;
    }

    /// Indices of a batch's windows among all.
    ///
    /// @param number of the batch, from 0
    public int[] chosen(long number) {
        int[] chosen = new int[batch];
        for (int i = 0; i < batch; i++) {
            Shares.Turn turn = shares.turn(number * batch + i);
            int s = turn.source();
            chosen[i] = sources.get(s).first + orders[s].window(turn.number());
        }
        return chosen;
    }

    /// Indices of held-out windows among all; held-out windows have numbers from 0.
    public int[] chosenHeld(int from, int to) {
        int[] chosen = new int[to - from];
        for (int i = 0; i < chosen.length; i++) {
            int at = from + i;
            int s = 0;
            while (at >= sources.get(s).holdout) {
                at -= sources.get(s++).holdout;
            }
            chosen[i] = sources.get(s).first + sources.get(s).training + at;
        }
        return chosen;
    }

    /// Which windows of the text a batch holds.
    ///
    /// @param number of the batch, from 0
    public Windows batch(long number) {
        return windows(chosen(number));
    }

    /// The windows that are only measured, some at a time.
    public Windows held(int from, int to) {
        return windows(chosenHeld(from, to));
    }

    /// Windows by their indices among all.
    public Windows windows(int[] chosen) {
        int[] ids = new int[Math.multiplyExact(chosen.length, length)];
        for (int i = 0; i < chosen.length; i++) {
            int s = sources.size() - 1;
            while (sources.get(s).first > chosen[i]) {
                s--;
            }
            int from = (chosen[i] - sources.get(s).first) * length;
            System.arraycopy(sources.get(s).ids, from, ids, i * length, length);
        }
        return Windows.of(ids, length);
    }
}
