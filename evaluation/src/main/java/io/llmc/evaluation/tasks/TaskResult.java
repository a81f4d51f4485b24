// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.tasks;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;

/// What came of one task.
///
/// @param items that were asked
/// @param fewshot solved items before each
/// @param cut requests whose context lost its beginning, because the model does not see as much
public record TaskResult(String name, int items, int fewshot, int cut, List<Measure> measures) {
    /// @param model the model's
    /// @param original the original's; null where there is none, `change` too
    public record Measure(Metric metric, Figure model, Figure original, Change change) {}

    /// @param error standard error; NaN where it is not known
    public record Figure(double value, double error) {}

    /// From the original to the model.
    public sealed interface Change {
        /// @param lost items, from 0, that only the original answers rightly
        /// @param won items that only the model answers rightly
        /// @param p of McNemar's exact test
        record Flips(List<Integer> lost, List<Integer> won, double p) implements Change {}

        /// Of two figures that are better where they are smaller.
        ///
        /// @param low of the 95 % interval over paired items; NaN where it is not known
        record Ratio(double value, double low, double high) implements Change {}
    }

    /// What has the figures that such a task will give, each 0.
    static TaskResult blank(String name, TaskSpec spec, boolean compared) {
        Figure none = new Figure(0, 0);
        List<Measure> measures =
                spec.metrics().stream()
                        .map(metric ->
                                new Measure(
                                        metric,
                                        none,
                                        compared ? none : null,
                                        metric.isAccuracy()
                                                ? new Change.Flips(List.of(), List.of(), 1)
                                                : new Change.Ratio(1, 1, 1)))
                        .toList();
        return new TaskResult(name, 0, 0, 0, measures);
    }

    /// Under names in snake case; null where a number is not finite.
    SequencedMap<String, Object> figures() {
        SequencedMap<String, Object> map = new LinkedHashMap<>();
        map.put("items", items);
        map.put("fewshot", fewshot);
        map.put("cut", cut);
        for (Measure m : measures) {
            String name = m.metric.label();
            put(map, name, m.model.value);
            put(map, name + "_stderr", m.model.error);
            if (m.original != null) {
                put(map, "original_" + name, m.original.value);
                put(map, "original_" + name + "_stderr", m.original.error);
                change(map, name, m.change);
            }
        }
        return map;
    }

    private static void change(SequencedMap<String, Object> map, String name, Change change) {
        switch (change) {
            case Change.Flips flips -> {
                map.put(name + "_lost", flips.lost.size());
                map.put(name + "_won", flips.won.size());
                put(map, name + "_mcnemar_p", flips.p);
                map.put(name + "_lost_ids", flips.lost);
                map.put(name + "_won_ids", flips.won);
            }
            case Change.Ratio ratio -> {
                put(map, name + "_ratio", ratio.value);
                put(map, name + "_ratio_low", ratio.low);
                put(map, name + "_ratio_high", ratio.high);
            }
        }
    }

    private static void put(SequencedMap<String, Object> map, String key, double value) {
        map.put(key, Double.isFinite(value) ? (Object) value : null);
    }
}
