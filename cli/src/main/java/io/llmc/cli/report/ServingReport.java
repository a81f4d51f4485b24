// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.plan.DeviceSpec;
import io.llmc.pipeline.plan.ModelCost;
import io.llmc.pipeline.plan.Roofline;
import io.llmc.pipeline.plan.Serving;
import io.llmc.pipeline.plan.ServingSpec;
import io.llmc.pipeline.plan.Workload;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.function.Supplier;

/// What a model takes on devices, and how fast it can be there.
///
/// @param models by what their weights are called
public record ServingReport(
        Path path,
        Map<String, ModelCost> models,
        List<DeviceSpec> devices,
        ServingSpec how,
        Workload asked) {
    /// @param devices which may take seconds to measure, once it is known that the model can be
    ///   served as it is asked
    public static ServingReport of(
            Path path,
            Map<String, ModelCost> models,
            ServingSpec how,
            Workload asked,
            Supplier<List<DeviceSpec>> devices) {
        models.values().forEach(how.split()::require);
        asked.within(models.values().iterator().next().spec(), path);
        return new ServingReport(path, models, devices.get(), how, asked);
    }

    /// @param splits devices over which all splits are compared; empty for the one that is asked
    ///   for
    public String text(Optional<Integer> splits) {
        if (splits.isPresent()) {
            return "%s%n%d devices; tokens a second of all requests together%n%s"
                    .formatted(
                            heading(), splits.get(), new SplitReport(this, splits.get()).table());
        }
        StringBuilder text = new StringBuilder();
        text.append(heading()).append('\n').append(rates());
        if (devices.size() == 1) {
            models.forEach((name, model) ->
                    text.append(
                                    "\ndecoding tokens a second of %s on %s, by tokens before and requests\n"
                                            .formatted(name, devices.getFirst().name()))
                            .append(depths(model)));
        }
        return text.toString();
    }

    private Table heading() {
        ModelCost first = models.values().iterator().next();
        ModelSpec spec = first.spec();
        Table table = new Table("ll").row("model", path);
        table.row(
                "parameters",
                "%s, %s of them for each token"
                        .formatted(
                                Figures.count(first.parameters()), Figures.count(first.active())));
        table.row("layers", "%d, width %d".formatted(spec.layers().size(), spec.hidden()));
        models.forEach((name, model) ->
                table.row(
                        "weights",
                        "%s as %s, %.2f bits each"
                                .formatted(
                                        ByteSize.format(model.bytes()),
                                        name,
                                        model.bitsPerWeight())));
        Serving serving = new Serving(first, how);
        table.row(
                "cache",
                "%s a token, in pages of %d; %s for a request of %d tokens"
                        .formatted(
                                ByteSize.format((long) serving.cachePerToken()),
                                how.page(),
                                ByteSize.format((long) serving.cache(asked.context())),
                                asked.context()));
        table.row(
                "activations",
                "%s for %d tokens at once"
                        .formatted(ByteSize.format((long) serving.activations(1)), how.chunk()));
        return how.split().devices() == 1
                ? table
                : table.row(
                        "each on", how.split().devices() + " devices: " + how.split().describe());
    }

    private Table rates() {
        Table table = new Table("ll" + "r".repeat(asked.batches().size() + 4) + "l");
        List<Object> headings =
                new ArrayList<>(List.of("device", "weights", "memory", "", "fit", "prefill/s"));
        asked.batches().forEach(b -> headings.add("decode/s, %d".formatted(b)));
        headings.add("bound by");
        table.row(headings.toArray());
        for (DeviceSpec device : devices) {
            models.forEach((name, model) -> table.row(cells(device, name, model)));
        }
        return table;
    }

    private Object[] cells(DeviceSpec device, String name, ModelCost model) {
        Serving serving = new Serving(model, how);
        Roofline roofline = new Roofline(serving, device);
        List<Object> cells = new ArrayList<>(List.of(device.name(), name));
        cells.add(ByteSize.format((long) serving.weights()));
        cells.add("%.0f %%".formatted(100 * serving.weights() / device.memory()));
        long fits = serving.fits(device, asked.context());
        cells.add(fits == 0 ? "none" : Long.toString(fits));
        cells.add(Figures.rate(roofline.prefillRate(asked.context())));
        for (int batch : asked.batches()) {
            cells.add(
                    batch <= fits
                            ? Figures.rate(roofline.decodeRate(batch, asked.context()))
                            : "-");
        }
        cells.add(bounds(roofline));
        return cells.toArray();
    }

    /// Of decoding, from the smallest batch to the largest.
    private String bounds(Roofline roofline) {
        return String.join(
                ", ",
                asked.batches().stream()
                        .map(b -> Options.spelling(roofline.decode(b, asked.context()).bound()))
                        .distinct()
                        .toList());
    }

    private Table depths(ModelCost model) {
        Roofline roofline = new Roofline(new Serving(model, how), devices.getFirst());
        Table table = new Table("r" + "r".repeat(asked.batches().size()));
        List<Object> headings = new ArrayList<>(List.of("before"));
        headings.addAll(asked.batches());
        table.row(headings.toArray());
        for (long depth : asked.depths()) {
            List<Object> cells = new ArrayList<>(List.of(depth));
            asked.batches().forEach(b -> cells.add(Figures.rate(roofline.decodeRate(b, depth))));
            table.row(cells.toArray());
        }
        return table;
    }

    public SequencedMap<String, Object> json(Optional<Integer> splits) {
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("model", path.toString());
        json.put("context", asked.context());
        json.put("page", how.page());
        json.put("cache_bits", how.cacheBits());
        json.put("reserve", how.reserve());
        json.put("tensor_parallel", how.split().tensor());
        json.put("pipeline_parallel", how.split().pipeline());
        json.put("expert_parallel", how.split().experts());
        List<Object> all = new ArrayList<>();
        models.forEach((name, model) -> all.add(json(name, model)));
        json.put("weights", all);
        splits.ifPresent(n -> json.put("splits", new SplitReport(this, n).json()));
        return json;
    }

    private SequencedMap<String, Object> json(String name, ModelCost model) {
        Serving serving = new Serving(model, how);
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("as", name);
        json.put("parameters", model.parameters());
        json.put("active_parameters", model.active());
        json.put("bytes", model.bytes());
        json.put("bits_per_weight", model.bitsPerWeight());
        json.put("cache_bytes_per_token", serving.cachePerToken());
        json.put("cache_bytes_per_request", serving.cache(asked.context()));
        json.put("activation_bytes", serving.activations(1));
        json.put("weight_bytes_per_device", serving.weights());
        json.put("devices", devices.stream().map(d -> json(serving, d)).toList());
        return json;
    }

    private SequencedMap<String, Object> json(Serving serving, DeviceSpec device) {
        Roofline roofline = new Roofline(serving, device);
        SequencedMap<String, Object> json = new LinkedHashMap<>();
        json.put("device", device.name());
        json.put("requests_that_fit", serving.fits(device, asked.context()));
        json.put("prefill_tokens_per_second", roofline.prefillRate(asked.context()));
        List<Object> decoding = new ArrayList<>();
        for (long depth : asked.depths()) {
            for (int batch : asked.batches()) {
                Roofline.Time time = roofline.decode(batch, depth);
                SequencedMap<String, Object> one = new LinkedHashMap<>();
                one.put("depth", depth);
                one.put("batch", batch);
                one.put("tokens_per_second", batch / time.seconds());
                one.put("step_seconds", time.seconds());
                one.put("bound_by", Options.spelling(time.bound()));
                decoding.add(one);
            }
        }
        json.put("decode", decoding);
        return json;
    }
}
