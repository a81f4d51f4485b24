// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.formats.UserException;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.Size;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;

/// What is left of the widths inside a block, the same in every block that has them.
///
/// @param kept of sizes that change
record WidthSizes(Map<Size, Integer> kept) {
    /// Feed-forwards: of dense blocks, of each expert, of experts that every token goes to.
    private static final List<Size> CHANNELS =
            List.of(Size.INTERMEDIATE, Size.EXPERT_INTERMEDIATE, Size.SHARED_INTERMEDIATE);

    /// @throws UserException where a size cannot be had
    static WidthSizes of(ModelSpec spec, Part ffn, Part heads, Part kvGroups, int multiple) {
        Map<Size, Integer> kept = new EnumMap<>(Size.class);
        if (ffn != null) {
            List<Size> there = channels(spec);
            if (there.isEmpty()) {
                throw new UserException(
                        "{ffn}: blocks have no feed-forward: %s".formatted(first(spec)),
                        "choose another method for this model");
            }
            if (there.size() > 1 && !ffn.isFraction()) {
                throw new UserException(
                        "{ffn} is %s, but this model has feed-forwards of %s channels"
                                .formatted(
                                        ffn.text(),
                                        there.stream()
                                                .map(size -> "" + width(spec, size))
                                                .collect(Collectors.joining(" and "))),
                        "ask for a part of them, as 0.75");
            }
            there.forEach(size -> kept.put(size, channels(ffn, width(spec, size), multiple)));
            Integer each = kept.get(Size.EXPERT_INTERMEDIATE);
            if (each != null && kept.containsKey(Size.SHARED_INTERMEDIATE)) {
                // Many configs have the shared experts' width as so many times an expert's.
                int shared = width(spec, Size.SHARED_INTERMEDIATE);
                int expert = width(spec, Size.EXPERT_INTERMEDIATE);
                if (shared % expert == 0) {
                    kept.put(Size.SHARED_INTERMEDIATE, shared / expert * each);
                }
            }
        }
        if (heads != null || kvGroups != null) {
            kept.putAll(heads(spec, heads, kvGroups));
        }
        kept.entrySet().removeIf(e -> counts(spec, e.getKey()).equals(Set.of(e.getValue())));
        return new WidthSizes(kept);
    }

    private static List<Size> channels(ModelSpec spec) {
        return CHANNELS.stream().filter(size -> !counts(spec, size).isEmpty()).toList();
    }

    /// What the first block begins with.
    private static String first(ModelSpec spec) {
        return spec.layers().getFirst().bodies().findFirst().orElseThrow().summary();
    }

    /// How many there are in the blocks that have some.
    private static Set<Integer> counts(ModelSpec spec, Size size) {
        return spec.layers().stream()
                .flatMap(layer -> layer.pruneGroups().stream())
                .filter(group -> group.size() == size)
                .map(PruneGroup::count)
                .collect(Collectors.toCollection(TreeSet::new));
    }

    private static int width(ModelSpec spec, Size size) {
        Set<Integer> counts = counts(spec, size);
        if (counts.size() > 1) {
            throw new UserException(
                    "the blocks of this model differ in width: the %s is %s"
                            .formatted(
                                    size,
                                    counts.stream()
                                            .map(String::valueOf)
                                            .collect(Collectors.joining(" and "))),
                    "width prunes equal blocks");
        }
        return counts.isEmpty() ? 0 : counts.iterator().next();
    }

    private static Map<Size, Integer> heads(ModelSpec spec, Part heads, Part kvGroups) {
        int all = width(spec, Size.HEADS);
        int kvHeads = width(spec, Size.KV_HEADS);
        boolean alike =
                spec.layers().stream()
                        .allMatch(layer ->
                                layer.count(Size.HEADS) == all
                                        && layer.count(Size.KV_HEADS) == kvHeads);
        if (!alike) {
            throw new UserException(
                    "some blocks of this model have heads that could go, others have not",
                    "width prunes equal blocks; prune {ffn}");
        }
        if (kvHeads == 0) {
            return withoutKvHeads(spec, all, heads, kvGroups);
        }
        int group = all / kvHeads;
        int kv = kvGroups == null ? kvHeads : count(kvGroups, kvHeads, "{kvGroups}", "KV heads");
        int each = group;
        if (heads != null && group == 1) {
            // Without groups a query head and its KV head go together.
            if (kvGroups != null) {
                throw new UserException(
                        "{heads} and {kvGroups} are the same thing where every head has its own KV"
                                + " head",
                        "give one of them");
            }
            kv = count(heads, kvHeads, "{heads}", "heads");
        } else if (heads != null) {
            each = headsOfEach(heads, group, kv);
        }
        return Map.of(Size.KV_HEADS, kv, Size.HEADS, kv * each);
    }

    /// Where there are no KV heads to take out, whole heads may go.
    private static Map<Size, Integer> withoutKvHeads(
            ModelSpec spec, int all, Part heads, Part kvGroups) {
        if (kvGroups != null || all == 0) {
            throw new UserException(
                    "%s: blocks have no KV heads of their own that could go: %s"
                            .formatted(kvGroups != null ? "{kvGroups}" : "{heads}", first(spec)),
                    channels(spec).isEmpty()
                            ? "choose another method for this model"
                            : all == 0 ? "prune {ffn}" : "prune {heads} or {ffn}");
        }
        return Map.of(Size.HEADS, count(heads, all, "{heads}", "heads"));
    }

    private static int channels(Part ffn, int all, int multiple) {
        double wanted = ffn.of(all);
        if (wanted > all) {
            throw new UserException(
                    "{ffn} %s is more than the %d channels there are".formatted(ffn.text(), all),
                    "ask for fewer");
        }
        if (wanted == all) {
            return all;
        }
        int kept = (int) Math.max(1, Math.round(wanted / multiple)) * multiple;
        if (kept >= all) {
            throw new UserException(
                    "{ffn} %s of %d channels is %d when rounded to a multiple of %d, so nothing would go"
                            .formatted(ffn.text(), all, kept, multiple),
                    "lower {multipleOf}");
        }
        return kept;
    }

    private static int count(Part part, int all, String flag, String what) {
        double wanted = part.of(all);
        int kept = (int) Math.round(wanted);
        if (wanted > all) {
            throw new UserException(
                    "%s %s is more than the %d %s there are"
                            .formatted(flag, part.text(), all, what),
                    "ask for fewer");
        }
        if (kept < 1) {
            throw new UserException(
                    "%s %s of %d %s is 0 when rounded".formatted(flag, part.text(), all, what),
                    "ask for more");
        }
        requireFewer(kept, wanted, all, "%s %s of %d %s".formatted(flag, part.text(), all, what));
        return kept;
    }

    /// Asked for fewer, a model that stays as it is would be a surprise.
    private static void requireFewer(int kept, double wanted, int all, String what) {
        if (kept == all && wanted < all) {
            throw new UserException(
                    "%s is %d when rounded, so nothing would go".formatted(what, kept),
                    "ask for fewer");
        }
    }

    private static int headsOfEach(Part heads, int group, int kvHeads) {
        if (heads.isFraction()) {
            double wanted = heads.of(group);
            int kept = (int) Math.max(1, Math.round(wanted));
            requireFewer(
                    kept,
                    wanted,
                    group,
                    "{heads} %s of the %d heads of each KV head".formatted(heads.text(), group));
            return kept;
        }
        double each = heads.of(0) / kvHeads;
        if (each != Math.rint(each) || each > group) {
            throw new UserException(
                    "{heads} %s does not leave equally many, 1 to %d, for each of %d KV heads"
                            .formatted(heads.text(), group, kvHeads),
                    "ask for a multiple of %d up to %d".formatted(kvHeads, group * kvHeads));
        }
        return (int) each;
    }

    /// What is left of a group.
    int of(PruneGroup group) {
        return kept.getOrDefault(group.size(), group.count());
    }

    /// Whether every part of a group stays.
    boolean keepsAll(PruneGroup group) {
        return of(group) == group.count();
    }
}
