// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.BoundedRegex.RegexException;
import io.llmc.tensor.QuantSpec;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import java.util.regex.Pattern;

/// The part of a compressed-tensors config that says how weights are packed.
///
/// `kv_cache_scheme` and the quantization of activations describe how a runtime computes; they
/// leave the weights as they are, so they are not looked at.
///
/// @param version of the library that wrote the file, `major * 1000 + minor`; 0 where unknown
record CompressedTensorsConfig(Path directory, List<Group> groups, int version)
        implements Quantization {
    private static final String FORMAT = "pack-quantized";

    /// The first version that packs 3-bit values without gaps.
    private static final int DENSE_STREAM = 17;

    /// @param targets `Linear`, names of layers, and `re:` patterns
    record Group(List<String> targets, List<BoundedRegex> patterns, QuantSpec spec) {}

    static Optional<Quantization> of(Path directory, ObjectNode q) {
        String sparsity = q.path("sparsity_config").path("format").asText("dense");
        if (!sparsity.equals("dense")) {
            return Quantization.refuse(directory, "compressed-tensors " + sparsity);
        }
        if (!q.path("transform_config").path("config_groups").isEmpty()) {
            return Quantization.refuse(
                    directory, "compressed-tensors with rotated weights (transform_config)");
        }
        String format = q.path("format").asText("dense");
        List<Group> groups = new ArrayList<>();
        for (JsonNode group : q.path("config_groups")) {
            String own = group.path("format").asText(format);
            if (group.path("weights").isObject() && !own.equals("dense")) {
                groups.add(group(directory, group, own));
            }
        }
        return groups.isEmpty()
                ? Optional.empty()
                : Optional.of(
                        new CompressedTensorsConfig(
                                directory,
                                List.copyOf(groups),
                                version(q.path("version").asText(""))));
    }

    private static Group group(Path directory, JsonNode group, String format) {
        JsonNode weights = group.path("weights");
        if (!format.equals(FORMAT)) {
            return Quantization.refuse(directory, "compressed-tensors " + format);
        }
        int bits = Quantization.whole(directory, weights, "num_bits", 0);
        String type = weights.path("type").asText("int");
        if (!type.equals("int") || !BITS.contains(bits)) {
            return Quantization.refuse(
                    directory, "compressed-tensors %s of %d-bit %s".formatted(format, bits, type));
        }
        int size = Quantization.groupSize(directory, weights);
        String strategy = weights.path("strategy").asText(size > 0 ? "group" : "channel");
        boolean perGroup = strategy.equals("group") && size > 0;
        if (!perGroup && !strategy.equals("channel")) {
            return Quantization.refuse(
                    directory, "compressed-tensors with strategy '%s'".formatted(strategy));
        }
        QuantSpec spec =
                new QuantSpec(
                        bits,
                        perGroup ? size : QuantSpec.CHANNEL,
                        weights.path("symmetric").asBoolean(true));
        List<String> targets = group.path("targets").valueStream().map(JsonNode::asText).toList();
        return new Group(targets, patterns(directory, targets), spec);
    }

    private static List<BoundedRegex> patterns(Path directory, List<String> targets) {
        List<BoundedRegex> patterns = new ArrayList<>();
        for (String target : targets) {
            try {
                if (target.startsWith("re:")) {
                    patterns.add(BoundedRegex.compile(target.substring(3)));
                }
            } catch (RegexException e) {
                throw unmatchable(directory, e);
            }
        }
        return List.copyOf(patterns);
    }

    private static FormatException unmatchable(Path directory, RegexException e) {
        return new FormatException(
                directory.resolve("config.json"), "config_groups: the target " + e.getMessage());
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
    QuantSpec spec(String linear) {
        return find(g -> g.targets.contains(linear))
                .or(() -> find(g -> g.patterns.stream().anyMatch(p -> startMatches(p, linear))))
                .or(() -> find(g -> g.targets.contains("Linear")))
                .or(() -> groups.size() == 1 ? Optional.of(groups.getFirst()) : Optional.empty())
                .orElseThrow(() ->
                        new FormatException(
                                directory.resolve("config.json"),
                                "no target in config_groups fits '%s', which is packed"
                                        .formatted(linear)))
                .spec;
    }

    /// Python's `re.match`.
    private boolean startMatches(BoundedRegex pattern, String linear) {
        try {
            return pattern.lookingAt(linear);
        } catch (RegexException e) {
            throw unmatchable(directory, e);
        }
    }

    private Optional<Group> find(Predicate<Group> fits) {
        return groups.stream().filter(fits).findFirst();
    }
}
