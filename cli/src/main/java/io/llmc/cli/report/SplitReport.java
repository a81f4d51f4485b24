// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.plan.DeviceSpec;
import io.llmc.pipeline.plan.ModelCost;
import io.llmc.pipeline.plan.Roofline;
import io.llmc.pipeline.plan.Serving;
import io.llmc.pipeline.plan.Split;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// All ways to lay a model over so many devices, side by side: the fastest at the largest batch
/// first, those that it does not fit last.
///
/// @param serving on one device
record SplitReport(ServingReport serving, int count) {
    private record Row(
            String device, String weights, Split split, Serving serving, Roofline speed) {
        double sent(int batch, long depth) {
            return speed.decode(batch, depth).link() * speed.device().link() / batch;
        }
    }

    private List<Row> rows() {
        List<Row> rows = new ArrayList<>();
        for (DeviceSpec device : serving.devices()) {
            serving.models().forEach((name, model) -> rows.addAll(rows(device, name, model)));
        }
        return rows;
    }

    private List<Row> rows(DeviceSpec device, String name, ModelCost model) {
        return Split.of(count, model).stream()
                .map(split -> {
                    Serving cut = new Serving(model, serving.how().over(split));
                    return new Row(device.name(), name, split, cut, new Roofline(cut, device));
                })
                .sorted(Comparator.comparingDouble(row -> -worth(row)))
                .toList();
    }

    private double worth(Row row) {
        return fits(row) == 0 ? 0 : row.speed.decodeRate(largest(), context());
    }

    private long fits(Row row) {
        return row.serving.fits(row.speed.device(), context());
    }

    private long context() {
        return serving.asked().context();
    }

    private int largest() {
        return serving.asked().batches().getLast();
    }

    Table table() {
        List<Integer> batches = serving.asked().batches();
        Table table = new Table("lll" + "r".repeat(batches.size() + 5) + "l");
        List<Object> headings = new ArrayList<>(List.of("device", "weights", "split"));
        headings.addAll(List.of("weights", "cache", "fit", "sent/token", "prefill/s"));
        batches.forEach(b -> headings.add("decode/s, %d".formatted(b)));
        headings.add("bound by");
        table.row(headings.toArray());
        rows().forEach(row -> table.row(cells(row)));
        return table;
    }

    private Object[] cells(Row row) {
        long fits = fits(row);
        List<Object> cells = new ArrayList<>(List.of(row.device, row.weights));
        cells.add(row.split.describe());
        cells.add(ByteSize.format((long) row.serving.weights()));
        cells.add(ByteSize.format((long) row.serving.cache(context())));
        cells.add(fits == 0 ? "none" : Long.toString(fits));
        cells.add(ByteSize.format((long) row.sent(largest(), context())));
        cells.add(Figures.rate(row.speed.prefillRate(context())));
        for (int batch : serving.asked().batches()) {
            cells.add(batch <= fits ? Figures.rate(row.speed.decodeRate(batch, context())) : "-");
        }
        cells.add(Options.spelling(row.speed.decode(largest(), context()).bound()));
        return cells.toArray();
    }

    List<SequencedMap<String, Object>> json() {
        return rows().stream().map(this::json).toList();
    }

    private SequencedMap<String, Object> json(Row row) {
        SequencedMap<String, Object> json = new LinkedHashMap<>(Map.of("device", row.device));
        json.put("as", row.weights);
        json.put("tensor_parallel", row.split.tensor());
        json.put("pipeline_parallel", row.split.pipeline());
        json.put("expert_parallel", row.split.experts());
        json.put("weight_bytes_per_device", row.serving.weights());
        json.put("cache_bytes_per_request", row.serving.cache(context()));
        json.put("requests_that_fit", fits(row));
        json.put("prefill_tokens_per_second", row.speed.prefillRate(context()));
        List<Object> decoding = new ArrayList<>();
        for (int batch : serving.asked().batches()) {
            SequencedMap<String, Object> one = new LinkedHashMap<>();
            one.put("batch", batch);
            one.put("tokens_per_second", row.speed.decodeRate(batch, context()));
            one.put("bytes_sent_per_token", row.sent(batch, context()));
            decoding.add(one);
        }
        json.put("decode", decoding);
        return json;
    }
}
