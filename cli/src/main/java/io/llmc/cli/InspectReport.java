// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.HfConfig;
import io.llmc.formats.Layouts;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TensorReader;
import io.llmc.formats.UserException;
import io.llmc.formats.WeightLayout;
import io.llmc.model.LayerSpec;
import io.llmc.model.LayerSpec.AttentionLayer;
import io.llmc.model.LayerSpec.Experts;
import io.llmc.model.LayerSpec.Mlp;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.Sizes;
import io.llmc.tensor.QuantSpec;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;

/// What a model directory holds.
///
/// @param lines what and how much, for people; the keys are names
/// @param json the same for programs
/// @param tensors every tensor and the file that it lies in
record InspectReport(
        SequencedMap<String, String> lines, SequencedMap<String, Object> json, SequencedMap<TensorInfo, Path> tensors) {

    static InspectReport of(Checkpoint checkpoint) {
        SequencedMap<TensorInfo, Path> tensors = new LinkedHashMap<>();
        checkpoint.names().forEach(name -> tensors.put(checkpoint.info(name), checkpoint.file(name)));
        InspectReport report = new InspectReport(new LinkedHashMap<>(), new LinkedHashMap<>(), tensors);
        report.describe(checkpoint);
        return report;
    }

    String text(boolean verbose) {
        Table table = new Table("ll");
        lines.forEach(table::row);
        if (!verbose) {
            return table.toString();
        }
        Table all = new Table("lllrl").row("tensor", "type", "shape", "size", "file");
        tensors.forEach(
                (t, file) ->
                        all.row(t.name(), t.dtype(), t.shape(), Sizes.format(t.byteSize()), file.getFileName()));
        return table + "\n" + all;
    }

    private void say(String name, String line, String key, Object value) {
        lines.put(name, line);
        json.put(key, value);
    }

    private void describe(Checkpoint c) {
        HfConfig config = c.config();
        say("model", c.directory().toString(), "model", c.directory().toString());
        say(
                "architecture",
                config.modelType() + " (" + Figures.names(config.architectures()) + ")",
                "model_type",
                config.modelType());
        try {
            describe(Architectures.specOf(c));
        } catch (UserException e) {
            lines.put("layers", "unknown: " + e.getMessage());
        }
        Map<String, Long> types = new TreeMap<>();
        tensors.keySet().forEach(t -> types.merge(t.dtype().toString(), t.byteSize(), Long::sum));
        say(
                "data types",
                types.entrySet().stream()
                        .map(t -> t.getKey() + " " + Sizes.format(t.getValue()))
                        .collect(Collectors.joining(", ")),
                "bytes_by_type",
                types);
        describeWeights(c);
        List<String> side = c.sideFiles().stream().map(f -> f.getFileName().toString()).toList();
        say("side files", Figures.names(side), "side_files", side);
    }

    private void describe(ModelSpec spec) {
        say("layers", Integer.toString(spec.layers().size()), "layers", spec.layers().size());
        Set<String> attention = new LinkedHashSet<>();
        Set<String> feedForward = new LinkedHashSet<>();
        for (LayerSpec layer : spec.layers()) {
            attention.add(attention(layer.attention()));
            feedForward.add(feedForward(layer.feedForward()));
        }
        say("hidden size", Integer.toString(spec.hidden()), "hidden_size", spec.hidden());
        say("attention", String.join("; ", attention), "attention", attention);
        say("feed-forward", String.join("; ", feedForward), "feed_forward", feedForward);
        String head = spec.tied() ? ", output layer tied to the embedding" : "";
        say("vocabulary", spec.vocabulary() + head, "vocabulary", spec.vocabulary());
        json.put("tied", spec.tied());
        say("positions", Integer.toString(spec.maxPositions()), "positions", spec.maxPositions());
    }

    private static String attention(AttentionLayer a) {
        String shared = a.kvHeads() == a.heads() ? "" : " sharing %d keys and values".formatted(a.kvHeads());
        String window = a.window() == 0 ? "" : ", window of " + a.window();
        return "%d heads of %d%s%s".formatted(a.heads(), a.headDim(), shared, window);
    }

    private static String feedForward(LayerSpec.FeedForward f) {
        return switch (f) {
            case Mlp mlp -> "%d channels%s".formatted(mlp.intermediate(), mlp.gated() ? ", gated" : "");
            case Experts e ->
                    "%d experts of %d channels, %d for each token"
                            .formatted(e.experts().size(), e.experts().getFirst().intermediate(), e.topK());
        };
    }

    private void describeWeights(Checkpoint c) {
        long bytes = tensors.keySet().stream().mapToLong(TensorInfo::byteSize).sum();
        String files = c.weightFiles().size() == 1 ? "1 file" : c.weightFiles().size() + " files";
        try (Checkpoint readable = Checkpoint.open(c.directory());
                TensorReader reader = readable.reader()) {
            List<Packed> packed = packed(reader);
            long parameters = parameters(packed);
            say("parameters", Figures.count(parameters), "parameters", parameters);
            String quantization =
                    c.quantization().isEmpty()
                            ? "none"
                            : packed.stream().map(Packed::toString).distinct().collect(Collectors.joining("; "));
            say("quantization", quantization, "quantization", quantization);
            double bits = 8.0 * bytes / parameters;
            say(
                    "size",
                    "%s in %s, %.2f bits a weight".formatted(Sizes.format(bytes), files, bits),
                    "bytes",
                    bytes);
            json.put("bits_per_weight", bits);
        } catch (UserException e) {
            say("quantization", "unreadable: " + e.getMessage(), "quantization", e.getMessage());
            say("size", "%s in %s".formatted(Sizes.format(bytes), files), "bytes", bytes);
        }
        json.put("files", c.weightFiles().stream().map(Path::toString).toList());
    }

    /// A linear layer whose weight is packed.
    private record Packed(String linear, String layout, QuantSpec spec, long weights) {
        @Override
        public String toString() {
            return layout + ", " + Figures.grid(spec);
        }
    }

    private List<Packed> packed(TensorReader reader) {
        List<Packed> all = new ArrayList<>();
        Set<String> parents = new LinkedHashSet<>();
        tensors.keySet().forEach(t -> parents.add(parent(t.name())));
        for (String linear : parents) {
            for (WeightLayout layout : Layouts.ALL) {
                if (layout.matches(reader.checkpoint(), linear)) {
                    if (!layout.name().equals("dense")
                            && reader.weight(linear) instanceof Weight.Grouped w) {
                        all.add(new Packed(linear, layout.name(), w.spec(), w.outFeatures() * w.inFeatures()));
                    }
                    break;
                }
            }
        }
        return all;
    }

    private static String parent(String tensor) {
        return tensor.substring(0, Math.max(0, tensor.lastIndexOf('.')));
    }

    /// Weights, biases, embeddings; not scales, zero points and the like.
    private long parameters(List<Packed> packed) {
        Set<String> linears = packed.stream().map(Packed::linear).collect(Collectors.toSet());
        long plain =
                tensors.keySet().stream()
                        .filter(t -> !linears.contains(parent(t.name())) || t.name().endsWith(".bias"))
                        .mapToLong(t -> t.shape().size())
                        .sum();
        return plain + packed.stream().mapToLong(Packed::weights).sum();
    }
}
