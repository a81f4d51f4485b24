// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.width;

import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.PruneGroup;
import io.llmc.model.structure.Size;
import java.util.List;
import java.util.Map;

/// What is left of the widths inside a block, the same in every block.
record WidthSizes(Map<Size, Integer> kept) {
    /// The sizes that may change.
    static final List<Size> ALL = List.of(Size.HEADS, Size.KV_HEADS, Size.INTERMEDIATE);

    /// @throws UserException where a size cannot be had
    static WidthSizes of(ModelSpec spec, Part ffn, Part heads, Part kvGroups, int multiple) {
        LayerSpec layer = spec.layers().getFirst();
        int kvHeads = layer.count(Size.KV_HEADS);
        int intermediate = layer.count(Size.INTERMEDIATE);
        int kept = ffn == null ? intermediate : channels(ffn, intermediate, multiple);
        if (kvHeads == 0) {
            return withoutKvHeads(layer, kept, heads, kvGroups);
        }
        int group = layer.count(Size.HEADS) / kvHeads;
        int kv = kvGroups == null ? kvHeads : count(kvGroups, kvHeads, "{kvGroups}", "KV heads");
        int each = group;
        if (heads != null && group == 1) {
            // Without groups a query head and its KV head go together.
            if (kvGroups != null) {
                throw new UserException(
                        "{heads} and {kvGroups} are the same thing where every head has its own KV head",
                        "give one of them");
            }
            kv = count(heads, kvHeads, "{heads}", "heads");
        } else if (heads != null) {
            each = headsOfEach(heads, group, kv);
        }
        return new WidthSizes(
                Map.of(Size.INTERMEDIATE, kept, Size.KV_HEADS, kv, Size.HEADS, kv * each));
    }

    /// Where there are no KV heads to take out, whole heads may go.
    private static WidthSizes withoutKvHeads(
            LayerSpec layer, int intermediate, Part heads, Part kvGroups) {
        int all = layer.count(Size.HEADS);
        if (kvGroups != null || heads != null && all == 0) {
            throw new UserException(
                    "%s: blocks have no KV heads of their own that could go: %s"
                            .formatted(
                                    kvGroups != null ? "{kvGroups}" : "{heads}",
                                    layer.bodies().findFirst().orElseThrow().summary()),
                    all == 0 ? "prune {ffn}" : "prune {heads} or {ffn}");
        }
        int left = heads == null ? all : count(heads, all, "{heads}", "heads");
        return new WidthSizes(
                Map.of(Size.INTERMEDIATE, intermediate, Size.KV_HEADS, 0, Size.HEADS, left));
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

    int of(Size size) {
        return kept.get(size);
    }

    /// Whether every part of a group stays.
    boolean keepsAll(PruneGroup group) {
        return !kept.containsKey(group.size()) || of(group.size()) == group.count();
    }
}
