// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.Targets;
import java.util.List;

/// Which tensors of a student learn.
///
/// @param globs over their names; empty for all
/// @param lora trained in their place; null for none
/// @param prefix of the block that is trained; empty for all of the model
record Trainable(List<String> globs, Lora lora, String prefix) {
    private static final String REMEDY =
            "use --lora RANK --adapter, or --train '*norm*', or distill first and quantize then";

    static Trainable of(DistillSpec spec) {
        return new Trainable(spec.train(), spec.lora(), "");
    }

    /// Scales of packed weights are not: all that learns is a weight or a bias of its own.
    boolean selects(TensorInfo info) {
        String name = info.name();
        return lora == null
                && info.dtype().isFloat()
                && name.startsWith(prefix)
                && (name.endsWith(".weight") || name.endsWith(".bias"))
                && (globs.isEmpty() || named(name));
    }

    boolean selects(Checkpoint c, String name) {
        return c.has(name) && selects(c.info(name));
    }

    private boolean named(String name) {
        return globs.stream().anyMatch(g -> Targets.matches(g, name));
    }

    /// @throws UserException where nothing would be trained
    static void requireSome(Checkpoint c, DistillSpec spec) {
        ModelSpec model = Architectures.specOf(c);
        Trainable trainable = of(spec);
        if (spec.lora() == null
                && c.names().stream()
                        .filter(n -> !spec.blockwise() || inBlock(model, n))
                        .noneMatch(n -> trainable.selects(c, n))) {
            throw new UserException(
                    "--train %s matches none of the student's tensors%s"
                            .formatted(
                                    String.join(",", spec.train()),
                                    spec.blockwise() ? " in a block" : ""),
                    "names look like "
                            + model.layers().getFirst().attentionNorm().name()
                            + ".weight");
        }
        if (spec.lora() != null && spec.lora().layers(model).findAny().isEmpty()) {
            throw new UserException(
                    "--lora-targets %s matches none of the student's linear layers"
                            .formatted(String.join(",", spec.lora().targets().include())),
                    "names look like "
                            + model.layers().getFirst().linears(model.hidden()).getFirst().name());
        }
    }

    private static boolean inBlock(ModelSpec model, String name) {
        return model.layers().stream().anyMatch(layer -> name.startsWith(layer.prefix()));
    }

    /// @throws UserException where a packed weight would have to change
    static void requireUnpacked(Checkpoint c, DistillSpec spec) {
        if (c.quantization().isEmpty()) {
            return;
        }
        if (spec.lora() != null) {
            if (spec.lora().merges()) {
                throw new UserException(
                        c.directory() + " is quantized, and packed weights take up no adapters",
                        REMEDY);
            }
            return;
        }
        if (spec.train().isEmpty()) {
            throw new UserException(
                    c.directory() + " is quantized, and packed weights do not learn", REMEDY);
        }
        Trainable trainable = of(spec);
        ModelSpec model = Architectures.specOf(c);
        model.layers().stream()
                .flatMap(layer -> layer.linears(model.hidden()).stream())
                .map(linear -> linear.name() + ".weight")
                .filter(weight -> !c.has(weight) && trainable.named(weight))
                .findFirst()
                .ifPresent(weight -> {
                    throw new UserException(
                            "--train %s selects %s, which is packed in %s, and packed weights do not learn"
                                    .formatted(
                                            String.join(",", spec.train()), weight, c.directory()),
                            REMEDY);
                });
    }
}
