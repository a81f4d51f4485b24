// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.FileKind;
import io.llmc.formats.FormatException;
import io.llmc.formats.Json;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// Which files of a directory hold the weights.
///
/// An index only says which files to open: where a tensor lies, the files themselves say.
///
/// @param files in the order of their names
/// @param others shards that the index does not name, for tensors that it promises and the files
///   lack
/// @param promised where an index says that a tensor lies; empty without an index
/// @param index null without an index
public record WeightFiles(
        List<Path> files, List<Path> others, Map<String, Path> promised, Path index) {
    static final String SINGLE = "model.safetensors";
    static final String INDEX = "model.safetensors.index.json";
    private static final Pattern SHARD =
            Pattern.compile("(?<series>[^.].*)-\\d{5}-of-(?<count>\\d{5})\\.safetensors");
    private static final Pattern ADAPTER = Pattern.compile("(adapter_model|\\.).*");
    private static final Pattern OTHER =
            Pattern.compile(".*\\.(bin|pt|pth|ckpt|gguf|onnx|h5|msgpack)");
    private static final Pattern UNFINISHED =
            Pattern.compile(".*\\.safetensors.*\\.(incomplete|part|aria2|crdownload|download|tmp)");

    /// Of a single file.
    public static WeightFiles of(Path file) {
        return new WeightFiles(List.of(file), List.of(), Map.of(), null);
    }

    /// Whether a directory has any.
    static boolean has(Path directory) {
        return list(directory).stream().anyMatch(f -> name(f).endsWith(".safetensors"));
    }

    /// One `model.safetensors`, else the shards of an index, else shards without an index, else the
    /// only safetensors file that is no adapter.
    static WeightFiles find(Path directory) {
        Path single = directory.resolve(SINGLE);
        FileKind.requireFile(single);
        if (Files.isRegularFile(single)) {
            return of(single);
        }
        Path index = directory.resolve(INDEX);
        FileKind.requireFile(index);
        List<Path> present = list(directory);
        if (Files.isRegularFile(index)) {
            return ofIndex(directory, index, shards(present));
        }
        List<Path> shards = shards(present);
        if (!shards.isEmpty()) {
            return complete(directory, shards);
        }
        List<Path> all = present.stream().filter(WeightFiles::isModel).toList();
        if (all.size() == 1) {
            return of(all.getFirst());
        }
        throw all.isEmpty() ? noWeights(directory, present) : ambiguous(directory, all);
    }

    private static boolean isModel(Path file) {
        return name(file).endsWith(".safetensors") && !ADAPTER.matcher(name(file)).matches();
    }

    private static List<Path> shards(List<Path> files) {
        return files.stream().filter(f -> SHARD.matcher(name(f)).matches()).toList();
    }

    private static WeightFiles ofIndex(Path directory, Path index, List<Path> shards) {
        ObjectNode root = Json.readObject(index);
        if (!(root.get("weight_map") instanceof ObjectNode map) || map.isEmpty()) {
            throw new FormatException(index, "expected tensors under 'weight_map'");
        }
        Map<String, Path> promised = new TreeMap<>();
        TreeSet<Path> named = new TreeSet<>();
        for (Map.Entry<String, JsonNode> e : map.properties()) {
            Path file = shard(directory, index, e.getValue());
            promised.put(e.getKey(), file);
            named.add(file);
        }
        for (Path file : named) {
            FileKind.requireFile(file);
            if (!Files.isRegularFile(file)) {
                throw new FormatException(
                        index,
                        "names %s, which is not in the directory: download it again"
                                .formatted(name(file)));
            }
        }
        return new WeightFiles(
                List.copyOf(named),
                shards.stream().filter(f -> !named.contains(f)).toList(),
                promised,
                index);
    }

    /// A plain file name, so that an index cannot make anyone read outside of its directory.
    private static Path shard(Path directory, Path index, JsonNode value) {
        String name = value.isTextual() ? value.textValue() : value.toString();
        boolean plain =
                value.isTextual()
                        && name.endsWith(".safetensors")
                        && name.chars().allMatch(c -> c >= ' ' && "/\\:".indexOf(c) < 0);
        try {
            Path path = Path.of(name);
            if (plain && path.getNameCount() == 1 && !path.isAbsolute()) {
                return directory.resolve(path);
            }
        } catch (InvalidPathException e) {
            // Falls through: not a plain name either.
        }
        throw new FormatException(
                index, "'%s' is not the plain name of a .safetensors file".formatted(name));
    }

    /// Shards without an index: all that their names promise must be there. Of several series, such
    /// as `model-` and `consolidated-`, transformers knows the first.
    private static WeightFiles complete(Path directory, List<Path> shards) {
        SequencedMap<String, List<Path>> series = new TreeMap<>();
        for (Path shard : shards) {
            series.computeIfAbsent(part(shard, "series"), _ -> new ArrayList<>()).add(shard);
        }
        List<Path> one =
                series.containsKey("model") || series.size() > 1
                        ? series.get("model")
                        : series.firstEntry().getValue();
        if (one == null) {
            throw ambiguous(directory, shards);
        }
        Set<String> counts = new TreeSet<>();
        one.forEach(shard -> counts.add(part(shard, "count")));
        if (counts.size() > 1) {
            throw ambiguous(directory, one);
        }
        int count = Integer.parseInt(counts.iterator().next());
        if (one.size() != count) {
            throw new FormatException(
                    directory,
                    "has %d of %d shards and no %s: download the rest"
                            .formatted(one.size(), count, INDEX));
        }
        return new WeightFiles(one, List.of(), Map.of(), null);
    }

    private static String part(Path shard, String group) {
        return SHARD.matcher(name(shard)).replaceFirst("${" + group + "}");
    }

    /// The refusal where a promised tensor is in no file.
    FormatException lost(String tensor) {
        return new FormatException(
                index,
                "says that '%s' lies in %s, but no shard has it: download both again"
                        .formatted(tensor, name(promised.get(tensor))));
    }

    private static UserException noWeights(Path directory, List<Path> present) {
        List<String> unfinished =
                present.stream()
                        .map(WeightFiles::name)
                        .filter(n -> UNFINISHED.matcher(n).matches())
                        .toList();
        if (!unfinished.isEmpty()) {
            return new UserException(
                    "%s: no .safetensors weights here but unfinished downloads, as %s"
                            .formatted(directory, shortened(unfinished)),
                    "let the download finish");
        }
        List<String> other =
                present.stream()
                        .map(WeightFiles::name)
                        .filter(n -> OTHER.matcher(n).matches())
                        .toList();
        if (other.isEmpty()) {
            return new UserException(
                    directory + ": no .safetensors weights here",
                    "download the whole model directory, weights included");
        }
        return new UserException(
                "%s: no .safetensors weights here, only %s".formatted(directory, shortened(other)),
                "convert them to safetensors first: load the model with transformers and save it"
                        + " with save_pretrained");
    }

    private static UserException ambiguous(Path directory, List<Path> all) {
        return new UserException(
                "%s: cannot tell which of %s is the model"
                        .formatted(
                                directory, shortened(all.stream().map(WeightFiles::name).toList())),
                "name the right one " + SINGLE);
    }

    private static String shortened(List<String> names) {
        String some = String.join(", ", names.subList(0, Math.min(3, names.size())));
        return names.size() <= 3 ? some : some + " and %d more".formatted(names.size() - 3);
    }

    private static List<Path> list(Path directory) {
        try (Stream<Path> files = Files.list(directory)) {
            return files.filter(Files::isRegularFile).sorted().toList();
        } catch (IOException e) {
            throw Json.unreadable(directory, e);
        }
    }

    private static String name(Path file) {
        return file.getFileName().toString();
    }
}
