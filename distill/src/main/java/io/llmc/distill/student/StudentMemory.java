// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.student;

import io.llmc.backend.Backend;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.Lora;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Positions;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.ResidentModel;
import io.llmc.pipeline.pass.StreamMemory;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import java.util.List;
import java.util.function.Predicate;
import java.util.function.ToLongFunction;
import java.util.stream.Stream;

/// What a student takes outside the Java heap, in bytes and from headers alone. Each figure is an
/// upper bound of what [io.llmc.formats.MemoryBudget] will count.
public record StudentMemory(Checkpoint c, ModelSpec model, DistillSpec spec, Backend backend) {
    /// An arena rounds each tensor up.
    private static final long ROUNDING = 64;

    /// Tokens of the probe that what is written is verified with.
    private static final int PROBE = 8;

    public static StudentMemory of(Checkpoint c, DistillSpec spec, Backend backend) {
        return new StudentMemory(c, Architectures.specOf(c), spec, backend);
    }

    /// All of the model with gradients and Adam's states: [TrainedModel#of].
    public long resident() {
        return student(Trainable.of(spec), _ -> true);
    }

    /// The largest block, and what surrounds the blocks: [TrainedModel#ofBlock].
    public long block() {
        return StreamMemory.outer(c, model)
                + model.layers().stream()
                        .mapToLong(l ->
                                student(
                                        Trainable.of(spec, spec.lora(), l.prefix()),
                                        n -> n.startsWith(l.prefix())))
                        .max()
                        .orElse(0);
    }

    private long student(Trainable trainable, Predicate<String> names) {
        // The random values of an adapter come from the host.
        long host =
                adapters().mapToLong(l -> 4 * rank() * Math.max(l.in(), l.out())).max().orElse(0);
        return trainable.bytes(c, spec.adam().algorithm())
                + ResidentModel.copies(c, trainable.prefix(), backend)
                + Positions.bytes(model, spec.length())
                + (1 << 13)
                + sum(names, n -> mapped(n) + (trainable.selects(c, n) ? inF32(n) : 0))
                + host;
    }

    private long sum(Predicate<String> names, ToLongFunction<String> bytes) {
        return c.names().stream().filter(names).mapToLong(bytes).sum();
    }

    private long mapped(String name) {
        return StreamMemory.inMemory(c, name, turned(name));
    }

    private boolean turned(String name) {
        return model.inOutLinears() && c.info(name).shape().rank() == 2;
    }

    /// The copy that learns, and the one in the order of the products.
    private long inF32(String name) {
        return (turned(name) ? 8 : 4) * c.info(name).shape().size() + 2 * ROUNDING;
    }

    private Stream<LinearSpec> adapters() {
        return spec.lora() == null ? Stream.of() : spec.lora().layers(model);
    }

    private long rank() {
        return spec.lora() == null ? 0 : spec.lora().rank();
    }

    /// Blocks of which only sizes are known, with their adapters.
    public List<DecoderBlock> blocks() {
        List<DecoderBlock> blocks = StreamMemory.outlines(c, model);
        for (DecoderBlock block : blocks) {
            for (Linear linear : block.linears()) {
                if (spec.lora() != null && spec.lora().targets().selects(linear.name())) {
                    long in = linear.weight().inFeatures();
                    long out = linear.weight().outFeatures();
                    linear.adapt(
                            new Linear.Adapter(
                                    ArenaPlan.nothing(new Shape(rank(), in)),
                                    ArenaPlan.nothing(new Shape(out, rank())),
                                    spec.lora().scale()));
                }
            }
        }
        return blocks;
    }

    /// Bytes of the gradient of the largest layer whose scales learn.
    public long largestWithScales() {
        Trainable trainable = Trainable.of(spec);
        return model.layers().stream()
                .flatMap(l -> l.linears(model.hidden()).stream())
                .filter(l ->
                        Layouts.scales(c, l.name())
                                .filter(at -> trainable.selects(c, at.tensor()))
                                .isPresent())
                .mapToLong(l -> 4L * l.out() * l.in() + ROUNDING)
                .max()
                .orElse(0);
    }

    /// What kernels hold beside arenas while a student learns, for steps of `rows` tokens.
    public long kernels(int rows) {
        long own = backend.gradientBytes(rows, model.vocabulary(), model.hidden(), false);
        long most = Math.max(model.vocabulary(), model.hidden());
        String head = model.tied() ? model.embedding() : model.head();
        long decoded = decoded(rows, head, model.vocabulary(), model.hidden());
        for (LinearSpec l :
                model.layers().stream().flatMap(l -> l.linears(model.hidden()).stream()).toList()) {
            own = Math.max(own, backend.gradientBytes(rows, l.out(), l.in(), false));
            decoded = Math.max(decoded, decoded(rows, l.name(), l.out(), l.in()));
            most = Math.max(most, Math.max(l.out(), l.in()));
        }
        long adapted = rank() == 0 ? 0 : backend.kernelBytes(rows, most, rank());
        return own + decoded + Math.max(adapted, StreamMemory.kernels(model, backend, rows));
    }

    /// What a product's gradient takes because the weight is not F32.
    private long decoded(int rows, String linear, long out, long in) {
        String name = linear + ".weight";
        boolean plain =
                c.has(name)
                        && (c.info(name).dtype() == DType.F32
                                || Trainable.of(spec).selects(c, name));
        return backend.gradientBytes(rows, out, in, !plain)
                - backend.gradientBytes(rows, out, in, false);
    }

    /// While the student, or its adapter, is written and read back, beside the student.
    public long writing() {
        if (spec.lora() != null && !spec.lora().merges()) {
            return adapters().mapToLong(l -> 4 * rank() * (l.in() + l.out()) + 2 * ROUNDING).sum();
        }
        StreamMemory probe =
                StreamMemory.of(c, model, backend, 1, Math.min(PROBE, model.maxPositions()));
        long logits = 4L * PROBE * (model.hidden() + 3L * model.vocabulary()) + (1 << 13);
        long whole =
                sum(n -> isOuter(n), this::written)
                        + writtenBlock()
                        + probe.pass()
                        + probe.states()
                        + logits;
        long largest = c.names().stream().mapToLong(this::written).max().orElse(0);
        return Math.max(whole, largest) + merging();
    }

    private boolean isOuter(String name) {
        return model.layers().stream().noneMatch(l -> name.startsWith(l.prefix()));
    }

    /// The largest block as it will be written.
    public long writtenBlock() {
        return model.layers().stream()
                .mapToLong(l -> sum(n -> n.startsWith(l.prefix()), this::written))
                .max()
                .orElse(0);
    }

    /// A tensor as it was, in F32, in the file's type, and turned to the file's order.
    private long written(String name) {
        TensorInfo info = c.info(name);
        boolean learnt = spec.lora() != null || Trainable.of(spec).selects(c, name);
        return mapped(name)
                + (learnt ? 4 * info.shape().size() + 3 * info.byteSize() + 4 * ROUNDING : 0);
    }

    /// The arena that a weight takes its adapter up in.
    private long merging() {
        return adapters()
                .mapToLong(l ->
                        Lora.mergingBytes((long) l.in() * l.out(), rank() * (l.in() + l.out())))
                .max()
                .orElse(0);
    }
}
