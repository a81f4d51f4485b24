// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.pipeline.plan.DeviceSpec;
import io.llmc.pipeline.plan.Drafting;
import io.llmc.pipeline.plan.ModelCost;
import io.llmc.pipeline.plan.Roofline;
import io.llmc.pipeline.plan.Serving;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.stream.Collectors;

/// What a draft can gain for a model on devices, one request at a time.
///
/// @param served the model on its devices
/// @param acceptance by place
public record DraftingReport(
        ServingReport served, Path path, ModelCost draft, List<Double> acceptance) {
    /// Numbers of drafted tokens that have a column.
    private static final List<Integer> SHOWN = List.of(1, 2, 4, 8);

    private Drafting drafting(ModelCost model, DeviceSpec device) {
        return new Drafting(
                new Roofline(new Serving(model, served.how()), device),
                new Roofline(new Serving(draft, served.how()), device),
                acceptance,
                served.asked().context());
    }

    public String text() {
        Table heading =
                new Table("ll")
                        .row("model", served.path())
                        .row("draft", path)
                        .row(
                                "acceptance",
                                acceptance.stream()
                                        .map("%.2f"::formatted)
                                        .collect(Collectors.joining("  ")));
        Table table = new Table("llr" + "r".repeat(SHOWN.size()) + "l");
        List<Object> headings = new ArrayList<>(List.of("device", "weights", "alone/s"));
        SHOWN.forEach(k -> headings.add(k + " drafted"));
        headings.add("best");
        table.row(headings.toArray());
        for (DeviceSpec device : served.devices()) {
            served.models()
                    .forEach((name, model) -> {
                        Drafting drafting = drafting(model, device);
                        double alone = drafting.target().decodeRate(1, drafting.depth());
                        List<Object> cells =
                                new ArrayList<>(List.of(device.name(), name, Figures.rate(alone)));
                        SHOWN.forEach(k -> cells.add("%.2f x".formatted(drafting.speedup(k))));
                        int best = drafting.best();
                        cells.add(
                                best == 0
                                        ? "no draft"
                                        : "%d: %.2f x".formatted(best, drafting.speedup(best)));
                        table.row(cells.toArray());
                    });
        }
        return "%s%nspeed-up by tokens that are drafted at a time, behind %d tokens%n%s"
                .formatted(heading, served.asked().context(), table);
    }

    public SequencedMap<String, Object> json() {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("model", served.path().toString());
        json.put("draft", path.toString());
        json.put("acceptance", acceptance);
        json.put("context", served.asked().context());
        List<Object> rows = new ArrayList<>();
        for (DeviceSpec device : served.devices()) {
            served.models()
                    .forEach((name, model) -> {
                        Drafting drafting = drafting(model, device);
                        SequencedMap<String, Object> row = new LinkedHashMap<>();
                        row.put("device", device.name());
                        row.put("as", name);
                        row.put(
                                "alone_tokens_per_second",
                                drafting.target().decodeRate(1, drafting.depth()));
                        List<Double> gains = new ArrayList<>();
                        for (int k = 1; k <= Drafting.MOST; k++) {
                            gains.add(drafting.speedup(k));
                        }
                        row.put("speedup_by_draft_tokens", gains);
                        row.put("best_draft_tokens", drafting.best());
                        row.put("best_speedup", drafting.speedup(drafting.best()));
                        rows.add(row);
                    });
        }
        json.put("devices", rows);
        return json;
    }
}
