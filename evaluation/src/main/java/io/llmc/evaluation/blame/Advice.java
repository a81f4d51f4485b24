// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/// What to leave alone: the parts that cost far more than they save.
///
/// @param patterns that `ignore` takes; none where no part stands out
/// @param share of the sum of all costs
/// @param bytes that the compressed model would be larger by
public record Advice(List<String> patterns, double share, long bytes) {
    /// How much more a part costs for each byte that it saves than all parts together do.
    private static final double OUTSTANDING = 2;

    /// The share of all saved bytes that may be given up, unless a single part takes more.
    private static final double GIVEN_UP = 0.1;

    /// The parts that cost the most for a byte come first.
    static Advice of(List<Cost> costs) {
        List<Cost> saving = costs.stream().filter(c -> c.saved() > 0).toList();
        double all = saving.stream().mapToDouble(Cost::kld).sum();
        long saved = saving.stream().mapToLong(Cost::saved).sum();
        List<Cost> chosen = new ArrayList<>();
        long bytes = 0;
        List<Cost> dearest =
                saving.stream()
                        .sorted(Comparator.comparingDouble(Advice::rate).reversed())
                        .toList();
        for (Cost cost : dearest) {
            boolean stands = rate(cost) * saved >= OUTSTANDING * all && cost.kld() > 0;
            boolean small = bytes + cost.saved() <= GIVEN_UP * saved;
            if (stands && (small || chosen.isEmpty())) {
                chosen.add(cost);
                bytes += cost.saved();
            }
        }
        return new Advice(
                chosen.stream().map(Cost::pattern).toList(),
                chosen.stream().mapToDouble(Cost::share).sum(),
                bytes);
    }

    private static double rate(Cost cost) {
        return cost.kld() / cost.saved();
    }
}
