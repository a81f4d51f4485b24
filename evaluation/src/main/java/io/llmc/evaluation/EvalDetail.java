// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;
import java.util.stream.IntStream;

/// Where in the windows, and where in the text, a model does well or ill.
///
/// @param positions by how much of a window the model has seen
/// @param places the tokens where it moved furthest from the original, the furthest first; empty
///   without one
public record EvalDetail(Positions positions, List<Place> places) {
    private static final int PLACES = 20;

    /// Tokens before a place that are kept.
    private static final int BEFORE = 24;

    /// Means over windows, one a position that is scored.
    ///
    /// @param first tokens that the model sees when it predicts the first of them
    /// @param loss nats
    /// @param originalLoss null without an original; `divergence` too
    public record Positions(int first, double[] loss, double[] originalLoss, double[] divergence) {}

    /// A token of the text.
    ///
    /// @param before ids that stand before it, the last ones
    /// @param divergence of the predictions for it, nats
    /// @param p what the model gives it
    /// @param originalP what the original gives it
    public record Place(int[] before, int id, double divergence, double p, double originalP) {}

    static EvalDetail of(ScoredWindows windows, TokenFigures figures) {
        return new EvalDetail(
                positions(windows, figures),
                figures.divergences == null ? List.of() : places(windows, figures));
    }

    private static Positions positions(ScoredWindows windows, TokenFigures figures) {
        int first = IntStream.of(windows.firstRow()).min().orElseThrow();
        int end = IntStream.of(windows.endRow()).max().orElseThrow();
        return new Positions(
                first + 1,
                means(windows, figures.losses, first, end),
                means(windows, figures.originalLosses, first, end),
                means(windows, figures.divergences, first, end));
    }

    private static double[] means(ScoredWindows windows, float[] values, int first, int end) {
        if (values == null) {
            return null;
        }
        double[] sums = new double[end - first];
        int[] counts = new int[end - first];
        int i = 0;
        for (int w = 0; w < windows.count(); w++) {
            for (int r = windows.firstRow()[w]; r < windows.endRow()[w]; r++) {
                sums[r - first] += values[i++];
                counts[r - first]++;
            }
        }
        for (int r = 0; r < sums.length; r++) {
            sums[r] /= counts[r];
        }
        return sums;
    }

    private static List<Place> places(ScoredWindows windows, TokenFigures figures) {
        Comparator<Integer> nearest = Comparator.comparing(i -> figures.divergences[i]);
        PriorityQueue<Integer> furthest = new PriorityQueue<>(nearest);
        for (int i = 0; i < figures.divergences.length; i++) {
            furthest.add(i);
            if (furthest.size() > PLACES) {
                furthest.remove();
            }
        }
        int[] at = at(windows, figures.losses.length);
        List<Place> places = new ArrayList<>();
        for (int i : furthest.stream().sorted(nearest.reversed()).toList()) {
            int window = at[i] / windows.windows().length() * windows.windows().length();
            places.add(
                    new Place(
                            ids(windows, Math.max(window, at[i] - BEFORE), at[i]),
                            windows.windows().id(at[i]),
                            figures.divergences[i],
                            Math.exp(-figures.losses[i]),
                            Math.exp(-figures.originalLosses[i])));
        }
        return places;
    }

    /// Where the tokens that are scored stand among the ids of all windows.
    private static int[] at(ScoredWindows windows, int tokens) {
        int[] at = new int[tokens];
        int i = 0;
        for (int w = 0; w < windows.count(); w++) {
            for (int r = windows.firstRow()[w]; r < windows.endRow()[w]; r++) {
                at[i++] = w * windows.windows().length() + r + 1;
            }
        }
        return at;
    }

    private static int[] ids(ScoredWindows windows, int from, int to) {
        return windows.windows()
                .ids()
                .asSlice(4L * from, 4L * (to - from))
                .toArray(ValueLayout.JAVA_INT);
    }
}
