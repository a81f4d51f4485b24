// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.backend.Desk;
import io.llmc.prune.weights.Importance;
import io.llmc.solver.Factor;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/// Chooses the units of a layer's inputs that stay.
///
/// @param w F32 `[out, in]` of the layer that reads the inputs
/// @param h F32 `[in, in]`
/// @param activity of every input, for [Importance#ACTIVATION]: squares over sequences; null
///   otherwise
/// @param rounds in which [Importance#OBS] removes units, with new scores and refitted weights in
///   each
record UnitSelection(
        Tensor w, Tensor h, double[] activity, Importance importance, double damping, int rounds) {

    /// @param among units that are still there, ascending
    /// @param d room for at least [Refit#scratchBytes]
    /// @return ascending
    int[] kept(Units units, int[] among, Desk d) {
        int[] kept = among;
        if (units.removed() == 0) {
            return kept;
        }
        int steps = importance == Importance.OBS ? Math.min(rounds, units.removed()) : 1;
        for (int s = 0; s < steps; s++) {
            int goal = units.removed() * (s + 1) / steps - units.removed() * s / steps;
            double[] scores;
            try (Desk inner = d.scratch()) {
                scores = scores(units, kept, inner);
            }
            kept = without(units, kept, scores, goal);
        }
        return kept;
    }

    /// One for each unit of `kept`.
    private double[] scores(Units units, int[] kept, Desk d) {
        return switch (importance) {
            case ACTIVATION -> UnitScores.sums(activity, units.width());
            case WANDA -> UnitScores.wanda(d, w, h, units.width());
            case OBS -> obs(units, kept, d);
        };
    }

    private double[] obs(Units units, int[] kept, Desk d) {
        int[] inputs = units.inputs(kept);
        Factor factor = Refit.factor(d, h, inputs, damping);
        if (factor == null) {
            return UnitScores.wanda(d, w, h, units.width());
        }
        Tensor refitted = Refit.columns(d, w, h, factor, inputs, units.inputs(units.others(kept)));
        return UnitScores.obs(d, refitted, factor, units.width());
    }

    /// Drops from every cell the `goal` units of least score.
    private static int[] without(Units units, int[] kept, double[] scores, int goal) {
        boolean[] stays = new boolean[units.count()];
        double[] score = new double[units.count()];
        for (int i = 0; i < kept.length; i++) {
            stays[kept[i]] = true;
            score[kept[i]] = scores.length == kept.length ? scores[i] : scores[kept[i]];
        }
        for (List<Integer> cell : units.cells()) {
            List<Integer> left = new ArrayList<>(cell.stream().filter(u -> stays[u]).toList());
            left.sort(Comparator.comparingDouble((Integer u) -> score[u]));
            left.subList(0, goal).forEach(u -> stays[u] = false);
        }
        return IntStream.range(0, units.count()).filter(u -> stays[u]).toArray();
    }
}
