// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Durations;
import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.pipeline.ModuleReport;
import io.llmc.pipeline.SweepPlan;
import io.llmc.pipeline.sweep.SweepResult;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.DoubleStream;

/// What a sweep did, for people and for programs.
record SweepReport(SweepResult swept) {
    /// A value that passes report.
    ///
    /// @param key in a module's values
    /// @param cell of the values of several modules
    private record Column(String key, String heading, Function<List<Object>, String> cell) {}

    private static final String SPARSE_FILES =
            "Zeros are stored like other weights: a sparse file is as large as before, and no usual"
                    + " runtime multiplies\n"
                    + "it faster. Zeros shrink under file compression, serve kernels made for them, and"
                    + " llmc quantize keeps them.\n";
    private static final Function<DoubleStream, Double> MEAN = s -> s.average().orElse(0);
    private static final List<Column> COLUMNS =
            List.of(
                    new Column("kept", "kept", SweepReport::text),
                    new Column("dropped", "dropped", SweepReport::same),
                    figure("sparsity", "zeros", MEAN, v -> "%.1f %%".formatted(100 * v)),
                    figure("relative_error", "output error", MEAN, Figures::error),
                    figure("uncompensated_error", "uncompensated", MEAN, Figures::error),
                    figure("rtn_relative_error", "rtn would have", MEAN, Figures::error),
                    figure("relative_weight_error", "weight error", MEAN, Figures::error),
                    figure("ratio", "ratio", MEAN, "%.2f"::formatted),
                    figure("loss_left", "loss left", MEAN, v -> "%.1f %%".formatted(100 * v)),
                    figure(
                            "variance_kept",
                            "variance kept",
                            MEAN,
                            v -> "%.2f %%".formatted(100 * v)),
                    figure("damping", "damping", s -> s.max().orElse(0), "%.3f"::formatted),
                    figure("tokens", "tokens", s -> s.min().orElse(0), "%.0f"::formatted));

    private static Column figure(
            String key,
            String heading,
            Function<DoubleStream, Double> over,
            Function<Double, String> format) {
        return new Column(
                key,
                heading,
                values -> {
                    double[] numbers =
                            values.stream()
                                    .filter(Number.class::isInstance)
                                    .mapToDouble(v -> ((Number) v).doubleValue())
                                    .toArray();
                    return numbers.length == 0
                            ? "-"
                            : format.apply(over.apply(DoubleStream.of(numbers)));
                });
    }

    /// As [#same], without lists, which are long here.
    private static String text(List<Object> values) {
        return same(values.stream().filter(String.class::isInstance).toList());
    }

    /// A text that all have in common.
    private static String same(List<Object> values) {
        List<String> texts =
                values.stream()
                        .map(v -> v instanceof List<?> list ? Figures.names(list) : v.toString())
                        .distinct()
                        .toList();
        return texts.isEmpty() ? "-" : texts.size() == 1 ? texts.getFirst() : "differ";
    }

    String text(boolean verbose) {
        StringBuilder text = new StringBuilder();
        text.append(layers(swept.reports(), verbose)).append('\n').append(summary(swept));
        List<String> warnings =
                swept.reports().stream()
                        .flatMap(m -> m.warnings().stream().map(w -> "  " + m.module() + ": " + w))
                        .toList();
        if (swept.reports().stream().anyMatch(m -> m.values().containsKey("sparsity"))) {
            text.append('\n').append(SPARSE_FILES);
        }
        if (!warnings.isEmpty()) {
            text.append("\nwarnings\n").append(String.join("\n", warnings)).append('\n');
        }
        swept.plan().notes().forEach(note -> text.append("\nnote: %s\n".formatted(note)));
        return text.toString();
    }

    /// What each method did, in the order in which they first come up.
    private static String layers(List<ModuleReport> reports, boolean verbose) {
        Map<Object, List<ModuleReport>> methods =
                reports.stream()
                        .collect(
                                Collectors.groupingBy(
                                        r -> r.values().getOrDefault("method", ""),
                                        LinkedHashMap::new,
                                        Collectors.toList()));
        return methods.entrySet().stream()
                .map(e -> table(methods.size() > 1 ? e.getKey() + ": " : "", e.getValue(), verbose))
                .map(Table::toString)
                .collect(Collectors.joining("\n"));
    }

    /// A row a layer, or a row for all layers of one name.
    private static Table table(String method, List<ModuleReport> reports, boolean verbose) {
        Set<String> known = new LinkedHashSet<>();
        reports.forEach(r -> known.addAll(r.values().keySet()));
        List<Column> columns = COLUMNS.stream().filter(c -> known.contains(c.key)).toList();
        Table table = new Table("l" + "r".repeat(columns.size() + 2));
        List<String> headings = new ArrayList<>(List.of(method + "layer", "count"));
        columns.forEach(c -> headings.add(c.heading));
        headings.add("time");
        table.row(headings.toArray());
        Map<String, List<ModuleReport>> groups =
                reports.stream()
                        .collect(
                                Collectors.groupingBy(
                                        r -> verbose ? r.module() : last(r.module()),
                                        LinkedHashMap::new,
                                        Collectors.toList()));
        groups.forEach((name, group) -> table.row(cells(name, group, columns).toArray()));
        return table;
    }

    private static String last(String module) {
        return module.substring(module.lastIndexOf('.') + 1);
    }

    private static List<String> cells(String name, List<ModuleReport> group, List<Column> columns) {
        List<String> cells = new ArrayList<>(List.of(name, Integer.toString(group.size())));
        for (Column c : columns) {
            cells.add(
                    c.cell.apply(
                            group.stream()
                                    .map(r -> r.values().get(c.key))
                                    .filter(Objects::nonNull)
                                    .toList()));
        }
        cells.add(Durations.format(group.stream().mapToDouble(ModuleReport::seconds).sum()));
        return cells;
    }

    private Table summary(SweepResult r) {
        Table table = new Table("ll");
        SweepPlan plan = r.plan();
        table.row("output", r.output());
        table.row("size", Figures.sizes(plan.inputBytes(), plan.outputBytes()));
        if (plan.inputParameters() != plan.outputParameters()) {
            table.row(
                    "parameters",
                    "%s -> %s"
                            .formatted(
                                    Figures.count(plan.inputParameters()),
                                    Figures.count(plan.outputParameters())));
        }
        if (r.zeros() > 0) {
            table.row(
                    "zeros",
                    "%s of %s weights, %.1f %%"
                            .formatted(
                                    Figures.count(r.zeros()),
                                    Figures.count(plan.outputParameters()),
                                    100.0 * r.zeros() / plan.outputParameters()));
        }
        if (r.packs()) {
            table.row("compressed layers", "%.2f bits a weight".formatted(r.bitsPerWeight()));
        }
        table.row("weights", names(r.weightFiles()));
        table.row("copied", names(r.sideFiles()));
        table.row(
                "verified",
                "%d tensors and a forward pass, read back, equal what was in memory"
                        .formatted(r.verifiedTensors()));
        if (r.resumedBlocks() > 0) {
            table.row(
                    "continued",
                    "%d blocks were there from an earlier run".formatted(r.resumedBlocks()));
        }
        return table.row("time", Durations.format(r.seconds()));
    }

    private static String names(List<Path> files) {
        return Figures.names(files.stream().map(Path::getFileName).toList());
    }
}
