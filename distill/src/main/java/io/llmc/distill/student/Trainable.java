// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.student;

import io.llmc.distill.spec.AdamState;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.Lora;
import io.llmc.distill.spec.Parameter;
import io.llmc.distill.spec.Values;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.pass.NamePatterns;
import io.llmc.tensor.DType;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Collectors;

/// Which tensors of a student learn.
///
/// @param globs over their names; empty for all
/// @param lora trained in their place; null for none
/// @param prefix of the block that is trained; empty for all of the model
public record Trainable(NamePatterns globs, Lora lora, String prefix) {
    private static final String TRAIN = "{train}";
    private static final String REMEDY =
            "use {lora} RANK {adapter}, or {train} '*scale*,*norm*', or distill first and quantize then;"
                    + " llmc quantize with --layout dense makes a packed model plain";

    static Trainable of(DistillSpec spec) {
        return of(spec, spec.lora(), "");
    }

    static Trainable of(DistillSpec spec, Lora lora, String prefix) {
        return new Trainable(NamePatterns.of(TRAIN, spec.train()), lora, prefix);
    }

    /// A weight or a bias of its own, or the scales of a layer of integers.
    boolean selects(Checkpoint c, String name) {
        return c.has(name)
                && named(name)
                && (isPlain(c.info(name)) || Layouts.scalesIn(c, name).isPresent());
    }

    private boolean named(String name) {
        return lora == null && name.startsWith(prefix) && (globs.isEmpty() || globs.matches(name));
    }

    private static boolean isPlain(TensorInfo info) {
        return info.dtype().isFloat()
                && (info.name().endsWith(".weight") || info.name().endsWith(".bias"));
    }

    /// Of gradients, states, adapters and the F32 copies of scales.
    long bytes(Checkpoint c, DistillSpec.Algorithm algorithm) {
        long own =
                c.names().stream()
                        .filter(n -> selects(c, n))
                        .mapToLong(n -> bytes(c.info(n), algorithm))
                        .sum();
        long adapters = lora == null ? 0 : lora.bytes(Architectures.specOf(c), prefix, algorithm);
        return own + adapters + (1 << 16);
    }

    private static long bytes(TensorInfo info, DistillSpec.Algorithm algorithm) {
        long size = info.shape().size();
        return Parameter.bytes(size, algorithm) + (isPlain(info) ? 0 : 4 * size + AdamState.ALIGN);
    }

    /// The checkpoint with copies in F32 of what learns but scales, which stand beside codes.
    Checkpoint inF32(Checkpoint c) {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        for (String name : c.names()) {
            TensorInfo info = c.info(name);
            infos.put(name, widens(info) ? new TensorInfo(name, DType.F32, info.shape()) : info);
        }
        return c.derived(
                c.config(),
                infos,
                (name, base, memory) ->
                        widens(c.info(name))
                                ? Values.convert(base.tensor(name), DType.F32, memory)
                                : base.tensor(name));
    }

    private boolean widens(TensorInfo info) {
        return named(info.name()) && isPlain(info);
    }

    /// @throws UserException where a pattern names nothing that could be trained
    public static void requireSome(Checkpoint c, DistillSpec spec) {
        ModelSpec model = Architectures.specOf(c);
        Trainable all = new Trainable(NamePatterns.of(TRAIN, List.of()), null, "");
        List<String> names =
                c.names().stream()
                        .filter(n -> all.selects(c, n))
                        .filter(n -> !spec.blockwise() || inBlock(model, n))
                        .toList();
        of(spec).globs
                .requireEach(
                        names, "the student's tensors" + (spec.blockwise() ? " in a block" : ""));
        if (spec.lora() != null) {
            spec.lora().targets().resolve("lora", model, modules(c), new ArrayList<>());
        }
    }

    private static Set<String> modules(Checkpoint c) {
        return c.names().stream()
                .map(n -> n.substring(0, Math.max(0, n.lastIndexOf('.'))))
                .collect(Collectors.toSet());
    }

    private static boolean inBlock(ModelSpec model, String name) {
        return model.layers().stream().anyMatch(layer -> name.startsWith(layer.prefix()));
    }

    /// @throws UserException where a packed weight would have to change
    public static void requireUnpacked(Checkpoint c, DistillSpec spec) {
        if (!c.isQuantized()) {
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
                .filter(weight -> !c.has(weight) && trainable.globs.matches(weight))
                .findFirst()
                .ifPresent(weight -> {
                    throw new UserException(
                            "{train} %s selects %s, which is packed in %s, and packed weights do not learn"
                                    .formatted(
                                            String.join(",", spec.train()), weight, c.directory()),
                            REMEDY);
                });
    }
}
