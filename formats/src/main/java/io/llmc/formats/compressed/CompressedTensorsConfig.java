// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.compressed;

import io.llmc.formats.ConfigSection;
import io.llmc.formats.FormatException;
import io.llmc.formats.checkpoint.Quantization;
import io.llmc.tensor.ActivationScheme;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;

/// A compressed-tensors config: how weights are packed, and how inputs and the cache are rounded.
///
/// `output_activations` are not looked at: no runtime computes them.
///
/// @param ignored layers that are plain although a target matches them
record CompressedTensorsConfig(
        Path file, List<Group> groups, Targets ignored, Optional<CacheScheme> kvCache)
        implements Quantization {
    /// The first version that packs 3-bit values without gaps.
    private static final int DENSE_STREAM = 17;

    private static final Set<String> SPARSE = Set.of("sparse-24-bitmask", "sparse-bitmask");

    /// @param indexed whether a layer of it may have a group index
    record Group(Targets targets, Spelling spelling, Scheme scheme, boolean indexed) {}

    static CompressedTensorsConfig of(ConfigSection q) {
        String sparsity =
                q.optional("sparsity_config").map(s -> s.text("format", "dense")).orElse("dense");
        if (!sparsity.equals("dense") && !SPARSE.contains(sparsity)) {
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
        int version = version(q.text("version", ""));
        boolean gaps = version > 0 && version < DENSE_STREAM;
        // Reading, the tensors themselves say which layers are not packed.
        Targets ignored = Targets.of(q.file(), q.texts("ignore"));
        List<Group> groups = new ArrayList<>();
        q.optional("config_groups")
                .ifPresent(all ->
                        all.values()
                                .fieldNames()
                                .forEachRemaining(name ->
                                        all.optional(name)
                                                .flatMap(g -> group(g, format, gaps))
                                                .ifPresent(groups::add)));
        Optional<CacheScheme> cache =
                q.optional("kv_cache_scheme")
                        .map(kv -> new Arguments(kv, "kv_cache_scheme").cache());
        return new CompressedTensorsConfig(q.file(), List.copyOf(groups), ignored, cache);
    }

    /// Empty where the weights of the group are dense.
    ///
    /// @param common the format of groups that say none
    private static Optional<Group> group(ConfigSection group, String common, boolean gaps) {
        String name = group.text("format", common);
        Targets targets = Targets.of(group.file(), group.texts("targets"));
        return group.optional("weights")
                .filter(_ -> !name.equals("dense"))
                .map(weights -> {
                    Format format =
                            Format.named(name)
                                    .orElseGet(() ->
                                            Quantization.refuse(
                                                    group, "compressed-tensors " + name));
                    Arguments arguments = new Arguments(weights, name);
                    Encoding.Grid<?> grid = arguments.weights(format.scales());
                    Spelling spelling =
                            format.spelling(grid, gaps)
                                    .orElseGet(() ->
                                            Quantization.refuse(
                                                    weights,
                                                    "compressed-tensors %s of %s"
                                                            .formatted(name, grid.describe())));
                    Optional<ActivationScheme> inputs =
                            group.optional("input_activations")
                                    .map(i -> new Arguments(i, name).inputs(grid.scales()));
                    return new Group(
                            targets, spelling, new Scheme(grid, inputs), arguments.indexed());
                });
    }

    /// `major * 1000 + minor`; 0 where unknown
    private static int version(String text) {
        var m = Pattern.compile("(\\d{1,4})\\.(\\d{1,3}).*").matcher(text);
        return m.matches() ? Integer.parseInt(m.group(1)) * 1000 + Integer.parseInt(m.group(2)) : 0;
    }

    /// How a layer that is packed is spelled, whatever is ignored.
    ///
    /// @throws FormatException where no group is about it
    Spelling spelling(String linear) {
        return group(linear)
                .or(() -> groups.size() == 1 ? Optional.of(groups.getFirst()) : Optional.empty())
                .orElseThrow(() ->
                        new FormatException(
                                file,
                                "no target in config_groups fits '%s', which is packed"
                                        .formatted(linear)))
                .spelling;
    }

    @Override
    public Optional<Scheme> scheme(String linear) {
        return ignored.name(linear) || ignored.match(linear)
                ? Optional.empty()
                : group(linear).map(Group::scheme);
    }

    @Override
    public boolean indexed(String linear) {
        return group(linear).filter(Group::indexed).isPresent();
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
