// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report.html;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.cli.report.html.Svg.Anchor;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.SequencedMap;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/// Errors of layers, as the run that made the model left them in its provenance: a row a kind of
/// layer, a column a block.
record LayersSection(ObjectNode provenance) {
    private static final List<String> KEYS = List.of("relative_error", "relative_weight_error");
    private static final Pattern BLOCK = Pattern.compile("(?:.*?\\.)?(\\d{1,6})\\.(.+)");
    private static final double LABELS = 170;
    private static final double HIGH = 26;

    /// Beside so many blocks a cell has no room for its figure.
    private static final int WRITTEN = 12;

    private static final int MOST_BLOCKS = 1000;
    private static final int MOST_KINDS = 100;
    private static final int WORST = 40;

    String html() {
        for (String key : KEYS) {
            SequencedMap<String, Double> errors = errors(key);
            if (!errors.isEmpty()) {
                return section(key, errors);
            }
        }
        return "";
    }

    /// By module; of several methods the last counts.
    private SequencedMap<String, Double> errors(String key) {
        SequencedMap<String, Double> errors = new LinkedHashMap<>();
        for (JsonNode module : provenance.path("modules")) {
            double error = module.path(key).asDouble(Double.NaN);
            if (module.path("module").isTextual() && Double.isFinite(error) && error >= 0) {
                errors.put(module.path("module").asText(), error);
            }
        }
        return errors;
    }

    private static String section(String key, SequencedMap<String, Double> errors) {
        Page page = new Page();
        String what =
                key.equals("relative_error")
                        ? "Error of each layer's output on the calibration data, relative to the output: sum of squares over sum of squares."
                        : "Error of each layer's weights, relative to the weights: sum of squares over sum of squares.";
        SequencedMap<String, Map<Integer, Double>> cells = cells(errors);
        if (!cells.isEmpty()) {
            page.figure(what, map(cells));
        }
        List<List<String>> rows =
                errors.entrySet().stream()
                        .sorted(Map.Entry.comparingByValue(Comparator.reverseOrder()))
                        .limit(WORST)
                        .map(e -> List.of(e.getKey(), Numbers.percent(e.getValue())))
                        .toList();
        return page.open("details")
                .text("summary", "The %d layers with the largest errors".formatted(rows.size()))
                .table("lr", List.of("layer", "error"), rows)
                .close("details")
                .section("Errors of layers");
    }

    /// By kind of layer, then by block; experts of a block are averaged.
    private static SequencedMap<String, Map<Integer, Double>> cells(Map<String, Double> errors) {
        SequencedMap<String, Map<Integer, List<Double>>> all = new LinkedHashMap<>();
        errors.forEach((module, error) -> {
            Matcher m = BLOCK.matcher(module);
            if (m.matches()) {
                String kind = m.group(2).replaceAll("\\b\\d+\\b", "*");
                all.computeIfAbsent(kind, _ -> new TreeMap<>())
                        .computeIfAbsent(Integer.parseInt(m.group(1)), _ -> new ArrayList<>())
                        .add(error);
            }
        });
        SequencedMap<String, Map<Integer, Double>> means = new LinkedHashMap<>();
        all.entrySet().stream()
                .limit(MOST_KINDS)
                .forEach(row -> means.put(row.getKey(), means(row.getValue())));
        return means;
    }

    private static Map<Integer, Double> means(Map<Integer, List<Double>> blocks) {
        Map<Integer, Double> row = new TreeMap<>();
        blocks.forEach((block, values) ->
                row.put(block, values.stream().mapToDouble(v -> v).average().orElseThrow()));
        return row;
    }

    private static String map(SequencedMap<String, Map<Integer, Double>> cells) {
        OptionalInt last =
                cells.values().stream().flatMap(r -> r.keySet().stream()).mapToInt(b -> b).max();
        int blocks = Math.min(last.orElse(0) + 1, MOST_BLOCKS);
        double[] values =
                cells.values().stream()
                        .flatMap(r -> r.values().stream())
                        .mapToDouble(v -> v)
                        .filter(v -> v > 0)
                        .sorted()
                        .toArray();
        double least = values.length == 0 ? 1 : values[0];
        double most = values.length == 0 ? 1 : values[values.length - 1];
        double wide = (Frame.WIDTH - LABELS) / blocks;
        Svg svg = new Svg(Frame.WIDTH, HIGH * cells.size() + 46, "errors of layers by block");
        double y = 0;
        for (Map.Entry<String, Map<Integer, Double>> row : cells.entrySet()) {
            svg.text("", LABELS - 10, y + HIGH / 2 + 4, Anchor.END, row.getKey());
            for (Map.Entry<Integer, Double> cell : row.getValue().entrySet()) {
                if (cell.getKey() < blocks) {
                    double x = LABELS + cell.getKey() * wide;
                    double shade = shade(cell.getValue(), least, most);
                    String error = Numbers.percent(cell.getValue());
                    svg.rect(
                            "model",
                            x + 0.75,
                            y + 0.75,
                            wide - 1.5,
                            HIGH - 1.5,
                            shade,
                            "block %d, %s: %s".formatted(cell.getKey(), row.getKey(), error));
                    if (blocks <= WRITTEN) {
                        String kind = shade > 0.9 ? "on" : shade > 0.65 ? "mid" : "";
                        svg.text(kind, x + wide / 2, y + HIGH / 2 + 4, Anchor.MIDDLE, error);
                    }
                }
            }
            y += HIGH;
        }
        for (int block = 0; block < blocks; block += Math.ceilDiv(blocks, 16)) {
            double x = LABELS + (block + 0.5) * wide;
            svg.text("tick", x, y + 16, Anchor.MIDDLE, Integer.toString(block));
        }
        svg.text("axis-name", LABELS, y + 36, Anchor.START, "block");
        svg.text(
                "axis-name",
                Frame.WIDTH,
                y + 36,
                Anchor.END,
                "faintest %s, strongest %s, logarithmic"
                        .formatted(Numbers.percent(least), Numbers.percent(most)));
        return svg.end();
    }

    private static double shade(double error, double least, double most) {
        if (error <= least || most <= least) {
            return error < least ? 0.04 : 0.1;
        }
        return 0.1 + 0.9 * Math.log(error / least) / Math.log(most / least);
    }
}
