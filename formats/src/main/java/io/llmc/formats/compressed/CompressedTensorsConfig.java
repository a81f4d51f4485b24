// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.BoundedRegex;
import io.llmc.formats.BoundedRegex.RegexException;
import io.llmc.formats.ConfigSection;
import io.llmc.formats.FormatException;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;

/// The part of a compressed-tensors config that says how weights are packed, and how inputs are
/// rounded where that is by token to 8-bit floats.
///
/// `kv_cache_scheme` and other roundings of inputs describe how a runtime computes; they leave
/// packed weights as they are, so they are not looked at.
///
/// @param ignored layers that are plain although a target matches them
/// @param version of the library that wrote the file, `major * 1000 + minor`; 0 where unknown
record CompressedTensorsConfig(Path file, List<Group> groups, Targets ignored, int version)
        implements Quantization {
    private static final String INTEGERS = "pack-quantized";
    private static final Set<String> FLOATS = Set.of("float-quantized", "naive-quantized");

    private static final Set<String> TYPES = Set.of("int", "float");
    private static final Set<String> ORDERS = Set.of("group", "weight", "static", "dynamic");
    private static final Set<String> STRATEGIES =
            Set.of("tensor", "channel", "group", "block", "token", "tensor_group", "attn_head");

    /// The first version that packs 3-bit values without gaps.
    private static final int DENSE_STREAM = 17;

    /// @param names `Linear`, names of layers, and `re:` patterns
    record Targets(Path file, List<String> names, List<BoundedRegex> patterns) {
        static Targets of(Path file, List<String> names) {
            List<BoundedRegex> patterns = new ArrayList<>();
            for (String name : names) {
                try {
                    if (name.startsWith("re:")) {
                        patterns.add(BoundedRegex.compile(name.substring(3)));
                    }
                } catch (RegexException e) {
                    throw unmatchable(file, e);
                }
            }
            return new Targets(file, names, List.copyOf(patterns));
        }

        boolean name(String linear) {
            return names.contains(linear);
        }

        /// Python's `re.match`.
        boolean match(String linear) {
            try {
                for (BoundedRegex pattern : patterns) {
                    if (pattern.lookingAt(linear)) {
                        return true;
                    }
                }
                return false;
            } catch (RegexException e) {
                throw unmatchable(file, e);
            }
        }
    }

    /// @param weights of integers or floats
    record Group(Targets targets, Encoding.Grid<?> weights, Optional<ActivationScheme> inputs) {}

    static CompressedTensorsConfig of(ConfigSection q) {
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
        // Reading, the tensors themselves say which layers are not packed.
        Targets ignored = Targets.of(q.file(), q.texts("ignore"));
        List<Group> groups = new ArrayList<>();
        q.optional("config_groups")
                .ifPresent(all ->
                        all.values()
                                .fieldNames()
                                .forEachRemaining(name ->
                                        all.optional(name)
                                                .flatMap(g -> group(g, format))
                                                .ifPresent(groups::add)));
        return new CompressedTensorsConfig(
                q.file(), List.copyOf(groups), ignored, version(q.text("version", "")));
    }

    /// Empty where the weights of the group are dense.
    private static Optional<Group> group(ConfigSection group, String common) {
        String format = group.text("format", common);
        Targets targets = Targets.of(group.file(), group.texts("targets"));
        return group.optional("weights")
                .filter(_ -> !format.equals("dense"))
                .map(weights -> {
                    Encoding.Grid<?> grid = grid(weights, format);
                    return new Group(targets, grid, inputs(group, grid, format));
                });
    }

    private static Encoding.Grid<?> grid(ConfigSection weights, String format) {
        String type = weights.word("type", "int", TYPES);
        String strategy = weights.word("strategy", null, STRATEGIES);
        requireOrder(weights);
        boolean symmetric = weights.flag("symmetric", true);
        boolean floats = FLOATS.contains(format) && type.equals("float");
        if (!floats && !format.equals(INTEGERS)) {
            return Quantization.refuse(weights, "compressed-tensors " + format);
        }
        int bits = Quantization.bits(weights, "num_bits");
        if (floats ? bits != 8 : !type.equals("int") || !Quantization.BITS.contains(bits)) {
            return Quantization.refuse(
                    weights, "compressed-tensors %s of %d-bit %s".formatted(format, bits, type));
        }
        int size = Quantization.groupSize(weights);
        if (strategy == null) {
            strategy = size > 0 ? "group" : "channel";
        }
        if (floats && Set.of("channel", "tensor").contains(strategy)) {
            return new Encoding.Grid<>(
                    Codes.Floats.E4M3, strategy.equals("tensor") ? Tiles.TENSOR : Tiles.ROW);
        }
        if (!floats && Set.of("channel", "group").contains(strategy)) {
            int length = strategy.equals("group") ? requireGroups(weights, size) : Tiles.ALL;
            return Encoding.ints(bits, length, symmetric);
        }
        return Quantization.refuse(
                weights,
                "compressed-tensors%s with strategy '%s'"
                        .formatted(floats ? " " + format : "", strategy));
    }

    /// How inputs are rounded. Beside packed integers other ways than ours are a runtime's
    /// business; of float weights they are refused.
    private static Optional<ActivationScheme> inputs(
            ConfigSection group, Encoding.Grid<?> weights, String format) {
        Optional<ConfigSection> inputs = group.optional("input_activations");
        if (inputs.isEmpty()) {
            return Optional.empty();
        }
        ObjectNode values = inputs.get().values();
        boolean ours =
                values.path("type").asText().equals("float")
                        && values.path("num_bits").asInt() == 8
                        && values.path("strategy").asText().equals("token")
                        && values.path("dynamic").asBoolean();
        if (!ours && weights.codes() instanceof Codes.Floats) {
            return Quantization.refuse(
                    inputs.get(),
                    "compressed-tensors %s with inputs rounded otherwise than by token"
                            .formatted(format));
        }
        return ours
                ? Optional.of(new ActivationScheme(Codes.Floats.E4M3, Tiles.ROW, true))
                : Optional.empty();
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

    /// The grid of a layer that is packed, whatever is ignored.
    Encoding.Grid<?> grid(String linear) {
        return group(linear)
                .or(() -> groups.size() == 1 ? Optional.of(groups.getFirst()) : Optional.empty())
                .orElseThrow(() ->
                        new FormatException(
                                file,
                                "no target in config_groups fits '%s', which is packed"
                                        .formatted(linear)))
                .weights;
    }

    @Override
    public Optional<Scheme> scheme(String linear) {
        return ignored.name(linear) || ignored.match(linear)
                ? Optional.empty()
                : group(linear).map(g -> new Scheme(g.weights, g.inputs));
    }

    /// By name, else by pattern, else by class, as the library does it.
    private Optional<Group> group(String linear) {
        return find(g -> g.targets.name(linear))
                .or(() -> find(g -> g.targets.match(linear)))
                .or(() -> find(g -> g.targets.name("Linear")));
    }

    private Optional<Group> find(Predicate<Group> fits) {
        return groups.stream().filter(fits).findFirst();
    }
}
