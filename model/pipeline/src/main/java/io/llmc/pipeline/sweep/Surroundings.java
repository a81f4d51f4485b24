// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.SequencedSet;
import java.util.Set;

/// What a checkpoint has besides the layers that llmc works on: projections at the ends of the
/// decoder, layers that predict further tokens, towers that see or hear. Readers make layers of all
/// of them, which a config has to name, lest they look for codes there.
public final class Surroundings {
    private static final String WEIGHT = ".weight";

    private Surroundings() {}

    /// Linear layers of the decoder that no spec has.
    ///
    /// @param plain those that are named already
    /// @param packed those that have codes
    public static List<String> modules(
            Checkpoint checkpoint, ModelSpec spec, Collection<String> plain, Set<String> packed) {
        String root = root(spec);
        List<String> modules = new ArrayList<>();
        if (!plain.isEmpty() && !spec.head().equals("lm_head") && !packed.contains(spec.head())) {
            // What transformers calls the head of every model, whatever it is in files.
            modules.add("lm_head");
        }
        for (String name : checkpoint.names()) {
            if (name.startsWith(root) && rank(checkpoint, name) == 2) {
                String module = name.substring(0, name.length() - WEIGHT.length());
                if (!packed.contains(module) && !plain.contains(module) && !isTable(module)) {
                    modules.add(module);
                }
            }
        }
        return modules;
    }

    /// Where the decoder stands in the checkpoint.
    public static QuantPlan.Place place(Checkpoint checkpoint, ModelSpec spec) {
        String root = root(spec);
        SequencedSet<String> parts = new LinkedHashSet<>();
        for (String name : checkpoint.names()) {
            if (!name.startsWith(root) && !name.startsWith(spec.head() + ".")) {
                String inside =
                        name.startsWith("model.") ? name.substring("model.".length()) : name;
                if (rank(checkpoint, name) > 1 && inside.indexOf('.') > 0) {
                    parts.add(inside.substring(0, inside.indexOf('.')));
                }
            }
        }
        boolean usual =
                !checkpoint.config().multimodal()
                        && Architectures.of(checkpoint.config())
                                .embedding()
                                .equals(spec.embedding());
        return new QuantPlan.Place(
                usual ? Optional.empty() : Optional.of(root), List.copyOf(parts));
    }

    /// 0 where it is no weight
    private static int rank(Checkpoint checkpoint, String name) {
        return name.endsWith(WEIGHT) ? checkpoint.info(name).shape().rank() : 0;
    }

    /// Whether rows are looked up there, of tokens or positions.
    private static boolean isTable(String module) {
        String leaf = module.substring(module.lastIndexOf('.') + 1);
        return leaf.contains("embed") || leaf.equals("wte") || leaf.equals("wpe");
    }

    /// What names of the decoder begin with.
    private static String root(ModelSpec spec) {
        return spec.embedding().substring(0, spec.embedding().lastIndexOf('.') + 1);
    }
}
