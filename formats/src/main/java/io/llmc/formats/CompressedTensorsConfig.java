// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.formats.BoundedRegex.RegexException;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Tiles;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;

/// The part of a compressed-tensors config that says how weights are packed.
///
/// `kv_cache_scheme` and the quantization of activations describe how a runtime computes; they
/// leave the weights as they are, so they are not looked at.
///
/// @param version of the library that wrote the file, `major * 1000 + minor`; 0 where unknown
record CompressedTensorsConfig(Path file, List<Group> groups, int version) implements Quantization {
    private static final String FORMAT = "pack-quantized";

    private static final Set<String> TYPES = Set.of("int", "float");
    private static final Set<String> ORDERS = Set.of("group", "weight", "static", "dynamic");
    private static final Set<String> STRATEGIES =
            Set.of("tensor", "channel", "group", "block", "token", "tensor_group", "attn_head");

    /// The first version that packs 3-bit values without gaps.
    private static final int DENSE_STREAM = 17;

    /// @param targets `Linear`, names of layers, and `re:` patterns
    record Group(
            List<String> targets, List<BoundedRegex> patterns, Encoding.Grid<Codes.Ints> spec) {}

    static Optional<Quantization> of(ConfigSection q) {
        String sparsity =
                q.optional("sparsity_config").map(s -> s.text("format", "dense")).orElse("dense");
        if (!sparsity.equals("dense")) {
            return Quantization.refuse(q, "compressed-tensors " + sparsity);
        }
        if (q.optional("transform_config")
                .flatMap(t -> t.optional("config_groups"))
                .filter(t -> !t.values().isEmpty())
                .isPresent()) {
            return Quantization.refuse(
                    q, "compressed-tensors with rotated weights (transform_config)");
        }
        String format = q.text("format", "dense");
        // The tensors themselves say which layers are not packed.
        q.texts("ignore");
        List<Group> groups = new ArrayList<>();
        q.optional("config_groups")
                .ifPresent(all ->
                        all.values()
                                .fieldNames()
                                .forEachRemaining(name ->
                                        all.optional(name)
                                                .flatMap(g -> group(g, format))
                                                .ifPresent(groups::add)));
        return groups.isEmpty()
                ? Optional.empty()
                : Optional.of(
                        new CompressedTensorsConfig(
                                q.file(), List.copyOf(groups), version(q.text("version", ""))));
    }

    /// Empty where the weights of the group are dense.
    private static Optional<Group> group(ConfigSection group, String common) {
        String format = group.text("format", common);
        List<String> targets = group.texts("targets");
        return group.optional("weights")
                .filter(_ -> !format.equals("dense"))
                .map(weights ->
                        new Group(targets, patterns(group.file(), targets), spec(weights, format)));
    }

    private static Encoding.Grid<Codes.Ints> spec(ConfigSection weights, String format) {
        String type = weights.word("type", "int", TYPES);
        String strategy = weights.word("strategy", null, STRATEGIES);
        requireOrder(weights);
        boolean symmetric = weights.flag("symmetric", true);
        if (!format.equals(FORMAT)) {
            return Quantization.refuse(weights, "compressed-tensors " + format);
        }
        int bits = Quantization.bits(weights, "num_bits");
        if (!type.equals("int") || !BITS.contains(bits)) {
            return Quantization.refuse(
                    weights, "compressed-tensors %s of %d-bit %s".formatted(format, bits, type));
        }
        int size = Quantization.groupSize(weights);
        if (strategy == null) {
            strategy = size > 0 ? "group" : "channel";
        }
        return switch (strategy) {
            case "group" -> Encoding.ints(bits, requireGroups(weights, size), symmetric);
            case "channel" -> Encoding.ints(bits, Tiles.ALL, symmetric);
            default ->
                    Quantization.refuse(
                            weights, "compressed-tensors with strategy '%s'".formatted(strategy));
        };
    }

    private static int requireGroups(ConfigSection weights, int size) {
        if (size <= 0) {
            throw weights.wrong("group_size", "a number above 0, as strategy is group");
        }
        return size;
    }

    /// The order in which columns were quantized: only `weight_g_idx` tells what that means for
    /// reading, but a word that nobody knows may.
    private static void requireOrder(ConfigSection weights) {
        if (!weights.values().path("actorder").isBoolean()) {
            weights.word("actorder", null, ORDERS);
        }
    }

    private static List<BoundedRegex> patterns(Path file, List<String> targets) {
        List<BoundedRegex> patterns = new ArrayList<>();
        for (String target : targets) {
            try {
                if (target.startsWith("re:")) {
                    patterns.add(BoundedRegex.compile(target.substring(3)));
                }
            } catch (RegexException e) {
                throw unmatchable(file, e);
            }
        }
        return List.copyOf(patterns);
    }

    private static FormatException unmatchable(Path file, RegexException e) {
        return new FormatException(file, "config_groups: the target " + e.getMessage());
    }

    private static int version(String text) {
        var m = Pattern.compile("(\\d{1,4})\\.(\\d{1,3}).*").matcher(text);
        return m.matches() ? Integer.parseInt(m.group(1)) * 1000 + Integer.parseInt(m.group(2)) : 0;
    }

    /// Whether a width that does not divide 32 is packed without gaps, where the tensor itself
    /// leaves that open.
    boolean packsDenseStream() {
        return version == 0 || version >= DENSE_STREAM;
    }

    /// The scheme of a layer: by name, else by pattern, else by class, as the library does it.
    Encoding.Grid<Codes.Ints> spec(String linear) {
        return find(g -> g.targets.contains(linear))
                .or(() -> find(g -> g.patterns.stream().anyMatch(p -> startMatches(p, linear))))
                .or(() -> find(g -> g.targets.contains("Linear")))
                .or(() -> groups.size() == 1 ? Optional.of(groups.getFirst()) : Optional.empty())
                .orElseThrow(() ->
                        new FormatException(
                                file,
                                "no target in config_groups fits '%s', which is packed"
                                        .formatted(linear)))
                .spec;
    }

    /// Python's `re.match`.
    private boolean startMatches(BoundedRegex pattern, String linear) {
        try {
            return pattern.lookingAt(linear);
        } catch (RegexException e) {
            throw unmatchable(file, e);
        }
    }

    private Optional<Group> find(Predicate<Group> fits) {
        return groups.stream().filter(fits).findFirst();
    }
}
