// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.student;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.Lora;
import io.llmc.distill.spec.Parameter;
import io.llmc.distill.spec.Values;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.WeightLayout;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.Positions;
import io.llmc.model.Tape;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.ResidentModel;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.function.IntPredicate;
import java.util.stream.Stream;

/// A model in memory of which some parameters learn, in F32; the others stay as the checkpoint has
/// them.
public final class TrainedModel implements WriteBack.Learnt, AutoCloseable {
    private final ResidentModel resident;
    private final Backend backend;
    private final Trainable trainable;
    private final Checkpoint checkpoint;
    private final DistillSpec.Algorithm algorithm;
    private final SequencedMap<String, Parameter> trained = new LinkedHashMap<>();

    /// Every parameter that is to be trained.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public static TrainedModel of(Checkpoint checkpoint, Backend backend, DistillSpec spec) {
        TrainedModel model =
                new TrainedModel(checkpoint, backend, spec, Trainable.of(spec), _ -> true);
        model.model().parameters().forEach(model::add);
        model.addBlocks(spec);
        return model;
    }

    /// Those of one block; the others are not there.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public static TrainedModel ofBlock(
            Checkpoint checkpoint, Backend backend, DistillSpec spec, int block) {
        String prefix = Architectures.specOf(checkpoint).layers().get(block).prefix();
        Trainable trainable = Trainable.of(spec, spec.lora(), prefix);
        TrainedModel model =
                new TrainedModel(checkpoint, backend, spec, trainable, i -> i == block);
        model.addBlocks(spec);
        return model;
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    private TrainedModel(
            Checkpoint checkpoint,
            Backend backend,
            DistillSpec spec,
            Trainable trainable,
            IntPredicate blocks) {
        this.checkpoint = checkpoint;
        this.backend = backend;
        this.trainable = trainable;
        this.algorithm = spec.adam().algorithm();
        Checkpoint wide = trainable.inF32(checkpoint);
        long bytes =
                trainable.bytes(checkpoint, algorithm)
                        + ResidentModel.copies(wide, trainable.prefix(), backend);
        this.resident =
                new ResidentModel(
                        wide,
                        Architectures.specOf(checkpoint),
                        backend,
                        spec.length(),
                        blocks,
                        bytes);
    }

    private void addBlocks(DistillSpec spec) {
        for (DecoderBlock block : blocks()) {
            block.parameters().forEach(this::add);
            for (Linear linear : block.linears()) {
                if (spec.lora() != null && spec.lora().targets().selects(linear.name())) {
                    adapt(linear, spec);
                }
                switch (linear.weight()) {
                    case Weight.Dense(Tensor values) -> add(linear.name() + ".weight", values);
                    case Weight.Grouped packed -> addScales(linear, packed);
                    default -> {} // no number of it could learn alone
                }
            }
        }
    }

    private void adapt(Linear linear, DistillSpec spec) {
        long seed = spec.seed() * 31 + linear.name().hashCode();
        Linear.Adapter adapter =
                spec.lora().adapter(linear.weight(), seed, resident.arena(), backend);
        linear.adapt(adapter);
        put(linear.name() + Lora.DOWN, adapter.down(), resident.arena());
        put(linear.name() + Lora.UP, adapter.up(), resident.arena());
    }

    private void addScales(Linear linear, Weight.Grouped w) {
        String name =
                Layouts.scales(checkpoint, linear.name())
                        .map(WeightLayout.ScalesAt::tensor)
                        .filter(n -> trainable.selects(checkpoint, n))
                        .orElse(null);
        if (name == null) {
            return;
        }
        TensorArena memory = resident.arena();
        Tensor values = memory.allocate(DType.F32, w.scales().shape());
        backend.run(new ForwardOp.Scale(values, w.scales(), 1));
        linear.replace(
                new Weight.Grouped(
                        w.grid(), w.inFeatures(), w.codes(), values, w.zeros(), w.groupIndex()));
        trained.put(name, Parameter.of(name, values, algorithm, memory, backend).ofScales(backend));
    }

    private void add(String name, Tensor values) {
        if (trainable.selects(checkpoint, name)) {
            put(name, values, resident.arena());
        }
    }

    private void put(String name, Tensor values, TensorArena memory) {
        trained.put(name, Parameter.of(name, values, algorithm, memory, backend));
    }

    /// Trains a random matrix beside the model's own parameters, one that is not written with them.
    ///
    /// @param memory holds it, its gradient and its states
    public Tensor learnBeside(String name, long out, long in, long seed, TensorArena memory) {
        Tensor values = memory.allocate(DType.F32, new Shape(out, in));
        Values.randomize(values, seed, backend);
        put(name, values, memory);
        return values;
    }

    public ResidentModel resident() {
        return resident;
    }

    public LanguageModel model() {
        return resident.model();
    }

    public Positions positions() {
        return resident.positions();
    }

    public List<DecoderBlock> blocks() {
        return resident.blocks();
    }

    /// In a fixed order.
    public SequencedMap<String, Parameter> trained() {
        return trained;
    }

    public long trainedWeights() {
        return trained.values().stream().mapToLong(Parameter::size).sum();
    }

    /// Tells a tape which gradients go where.
    public void watch(Tape tape) {
        trained.values().forEach(p -> tape.source(p.values(), p.gradient()));
    }

    public void zeroGradients() {
        trained.values().forEach(p -> backend.run(new ForwardOp.Zero(p.gradient())));
    }

    /// Takes the values of another model with the same parameters.
    public void copyFrom(TrainedModel other) {
        trained.forEach((name, p) ->
                backend.run(new ForwardOp.Scale(p.values(), other.trained.get(name).values(), 1)));
    }

    @Override
    public boolean has(String name) {
        return trained.containsKey(name);
    }

    @Override
    public Stream<String> names() {
        return trained.keySet().stream();
    }

    @Override
    public Tensor tensor(String name, Arena memory) {
        Tensor values = trained.get(name).values();
        MemorySegment host = memory.allocate(values.byteSize(), 64);
        backend.download(host, values);
        return Tensor.of(host, DType.F32, values.shape().dims());
    }

    @Override
    public void close() {
        resident.close();
    }
}
