// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.report;

import io.llmc.cli.terminal.Figures;
import io.llmc.cli.terminal.Table;
import io.llmc.evaluation.SizeReport;
import io.llmc.formats.HfConfig;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.Architecture;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.arch.ModelDirectory;
import io.llmc.pipeline.ByteSize;
import io.llmc.tensor.BlockType;
import io.llmc.tensor.Shape;
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
import java.util.stream.Stream;

/// What a model directory holds.
///
/// @param lines what and how much, for people; the keys are names
/// @param json the same for programs
/// @param tensors in file order
public record InspectReport(
        SequencedMap<String, String> lines,
        SequencedMap<String, Object> json,
        List<Entry> tensors) {
    /// A tensor as its file has it.
    private record Entry(String name, String type, Shape shape, long bytes, Path file) {
        public static Entry of(Checkpoint c, String name) {
            TensorInfo info = c.info(name);
            String type = c.blocks(name).map(BlockType::name).orElse(info.dtype().name());
            return new Entry(name, type, info.shape(), c.bytes(name), c.file(name));
        }
    }

    public static InspectReport of(Checkpoint checkpoint) {
        List<Entry> tensors =
                checkpoint.names().stream().map(name -> Entry.of(checkpoint, name)).toList();
        InspectReport report =
                new InspectReport(new LinkedHashMap<>(), new LinkedHashMap<>(), tensors);
        report.describe(checkpoint);
        return report;
    }

    public String text(boolean verbose) {
        Table table = new Table("ll");
        lines.forEach(table::row);
        if (!verbose) {
            return table.toString();
        }
        Table all = new Table("lllrl").row("tensor", "type", "shape", "size", "file");
        tensors.forEach(t ->
                all.row(t.name, t.type, t.shape, ByteSize.format(t.bytes), t.file.getFileName()));
        return table + "\n" + all;
    }

    private void say(String name, String line, String key, Object value) {
        lines.put(name, line);
        json.put(key, value);
    }

    private void describe(Checkpoint c) {
        List<String> notes = new ArrayList<>();
        HfConfig config = c.config();
        say("model", c.directory().toString(), "model", c.directory().toString());
        say(
                "architecture",
                config.ownModelType() + " (" + Figures.names(config.architectures()) + ")",
                "model_type",
                config.ownModelType());
        Architecture known = null;
        try {
            known = Architectures.of(config);
        } catch (UserException e) {
            lines.put("layers", "unknown: " + e.getMessage());
        }
        if (known != null) {
            // Packed in an unknown way, tensors have other names and shapes.
            describe(
                    Architectures.specOf(
                            c.isReadable() ? ModelDirectory.settled(c, notes::add) : c));
        }
        Map<String, Long> types = new TreeMap<>();
        tensors.forEach(t -> types.merge(t.type, t.bytes, Long::sum));
        say(
                "data types",
                types.entrySet().stream()
                        .map(t -> t.getKey() + " " + ByteSize.format(t.getValue()))
                        .collect(Collectors.joining(", ")),
                "bytes_by_type",
                types);
        describeWeights(c);
        List<String> side = c.sideFiles().stream().map(f -> f.getFileName().toString()).toList();
        say("side files", Figures.names(side), "side_files", side);
        if (!notes.isEmpty()) {
            say("notes", String.join("; ", notes), "notes", notes);
        }
    }

    private void describe(ModelSpec spec) {
        say("layers", Integer.toString(spec.layers().size()), "layers", spec.layers().size());
        say("hidden size", Integer.toString(spec.hidden()), "hidden_size", spec.hidden());
        SequencedMap<String, Set<String>> bodies = new LinkedHashMap<>();
        spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .forEach(b ->
                        bodies.computeIfAbsent(b.role(), _ -> new LinkedHashSet<>())
                                .add(b.summary()));
        bodies.forEach(
                (role, all) -> say(role, String.join("; ", all), role.replace('-', '_'), all));
        String head = spec.tied() ? ", output layer tied to the embedding" : "";
        say("vocabulary", spec.vocabulary() + head, "vocabulary", spec.vocabulary());
        json.put("tied", spec.tied());
        say("positions", Integer.toString(spec.maxPositions()), "positions", spec.maxPositions());
    }

    private void describeWeights(Checkpoint c) {
        long bytes = tensors.stream().mapToLong(Entry::bytes).sum();
        String files = c.weightFiles().size() == 1 ? "1 file" : c.weightFiles().size() + " files";
        String size = "%s in %s".formatted(ByteSize.format(bytes), files);
        try (TensorReader reader = c.reader()) {
            c.requireReadable();
            String grids = c.isQuantized() ? grids(reader) : "none";
            say("quantization", grids, "quantization", grids);
            SizeReport report = SizeReport.of(c);
            say(
                    "parameters",
                    Figures.count(report.parameters()),
                    "parameters",
                    report.parameters());
            size += ", %.2f bits a weight".formatted(report.bitsPerWeight());
            json.put("bits_per_weight", report.bitsPerWeight());
        } catch (UserException e) {
            say("quantization", "unreadable: " + e.getMessage(), "quantization", e.getMessage());
        }
        say("size", size, "bytes", bytes);
        json.put("files", c.weightFiles().stream().map(Path::toString).toList());
    }

    /// Layout and grid of the packed layers: one for all in most checkpoints.
    private String grids(TensorReader reader) {
        Set<String> linears = new LinkedHashSet<>();
        tensors.forEach(t -> linears.add(parent(t.name)));
        Set<String> grids = new LinkedHashSet<>();
        for (String linear : linears) {
            Layouts.ALL.stream()
                    .filter(layout -> layout.matches(reader.checkpoint(), linear))
                    .findFirst()
                    .filter(layout ->
                            layout.packs()
                                    || reader.checkpoint().blocks(linear + ".weight").isPresent())
                    .map(layout -> layout.decode(reader, linear))
                    .filter(w -> !(w instanceof Weight.Dense))
                    .ifPresent(w -> grids.add(w.encoding().describe()));
        }
        String layout =
                reader.checkpoint()
                        .quantization()
                        .map(q -> q.path("quant_method").asText())
                        .orElse("");
        return Stream.of(layout, String.join("; ", grids))
                .filter(text -> !text.isEmpty())
                .collect(Collectors.joining(", "));
    }

    private static String parent(String tensor) {
        return tensor.substring(0, Math.max(0, tensor.lastIndexOf('.')));
    }
}
