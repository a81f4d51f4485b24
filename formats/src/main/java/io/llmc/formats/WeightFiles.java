// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// Which files of a directory hold the weights.
///
/// @param files in the order of their names
/// @param promised where an index says that a tensor lies; empty without an index
/// @param index null without an index
record WeightFiles(List<Path> files, Map<String, Path> promised, Path index) {
    static final String SINGLE = "model.safetensors";
    static final String INDEX = "model.safetensors.index.json";
    private static final Pattern SHARD = Pattern.compile(".+-\\d{5}-of-\\d{5}\\.safetensors");
    private static final Pattern OTHER =
            Pattern.compile(".*\\.(bin|pt|pth|ckpt|gguf|onnx|h5|msgpack)");

    /// One `model.safetensors`, else the shards of an index, else shards without an index, else the
    /// only safetensors file.
    static WeightFiles find(Path directory) {
        Path single = directory.resolve(SINGLE);
        if (Files.isRegularFile(single)) {
            return new WeightFiles(List.of(single), Map.of(), null);
        }
        Path index = directory.resolve(INDEX);
        if (Files.isRegularFile(index)) {
            return ofIndex(directory, index);
        }
        List<Path> present = list(directory);
        List<Path> all = present.stream().filter(f -> name(f).endsWith(".safetensors")).toList();
        List<Path> shards = all.stream().filter(f -> SHARD.matcher(name(f)).matches()).toList();
        if (!shards.isEmpty()) {
            return complete(directory, shards);
        }
        if (all.size() == 1) {
            return new WeightFiles(all, Map.of(), null);
        }
        throw all.isEmpty() ? noWeights(directory, present) : ambiguous(directory, all);
    }

    private static WeightFiles ofIndex(Path directory, Path index) {
        ObjectNode root = Json.readObject(index);
        if (!(root.get("weight_map") instanceof ObjectNode map) || map.isEmpty()) {
            throw new FormatException(index, "expected tensors under 'weight_map'");
        }
        Map<String, Path> promised = new TreeMap<>();
        TreeSet<Path> files = new TreeSet<>();
        for (Map.Entry<String, JsonNode> e : map.properties()) {
            Path file = shard(directory, index, e.getValue());
            promised.put(e.getKey(), file);
            files.add(file);
        }
        for (Path file : files) {
            if (!Files.isRegularFile(file)) {
                throw new FormatException(
                        index,
                        "names %s, which is not in the directory: download it again"
                                .formatted(name(file)));
            }
        }
        return new WeightFiles(List.copyOf(files), promised, index);
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

    /// Shards without an index: all that their names promise must be there.
    private static WeightFiles complete(Path directory, List<Path> shards) {
        String first = name(shards.getFirst());
        int end = first.length() - ".safetensors".length();
        int count = Integer.parseInt(first.substring(end - 5, end));
        if (shards.size() != count) {
            throw new FormatException(
                    directory,
                    "has %d of %d shards and no %s: download the rest"
                            .formatted(shards.size(), count, INDEX));
        }
        return new WeightFiles(shards, Map.of(), null);
    }

    private static UserException noWeights(Path directory, List<Path> present) {
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
                "convert them to safetensors first: load the model with transformers and save it with"
                        + " save_pretrained");
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
