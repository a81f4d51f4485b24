// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LanguageModel;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Tape;
import io.llmc.model.Transpose;
import io.llmc.model.arch.Architectures;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Random;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.Stream;

/// A model in memory whose trained parameters are F32, each with its gradient and what Adam
/// remembers of it; the others stay as the checkpoint has them.
final class Student implements AutoCloseable {
    /// @param name as in the checkpoint
    /// @param values `[out, in]` for a linear layer, whatever the checkpoint's order
    /// @param gradient like `values`
    record Parameter(String name, Tensor values, Tensor gradient, AdamState adam) {
        long size() {
            return values.shape().size();
        }
    }

    private static final int ALL = -1;

    private final Checkpoint checkpoint;
    private final ModelSpec spec;
    private final LanguageModel model;
    private final TensorReader reader;
    private final TensorArena arena;
    private final Lora lora;
    private final Trainable trainable;
    private final DistillSpec.Algorithm algorithm;
    private final List<DecoderBlock> blocks = new ArrayList<>();
    private final SequencedMap<String, Parameter> trained = new LinkedHashMap<>();

    /// Linear layers that the checkpoint stores as `[in, out]`.
    private final Set<String> turned = new HashSet<>();

    /// Every parameter that is to be trained.
    @MustBeClosed
    static Student of(Checkpoint checkpoint, Backend backend, DistillSpec spec) {
        return new Student(checkpoint, backend, spec, ALL);
    }

    /// Those of one block; the others are not there.
    @MustBeClosed
    static Student ofBlock(Checkpoint checkpoint, Backend backend, DistillSpec spec, int block) {
        return new Student(checkpoint, backend, spec, block);
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    private Student(Checkpoint checkpoint, Backend backend, DistillSpec distill, int only) {
        this.checkpoint = checkpoint;
        this.lora = distill.lora();
        this.algorithm = distill.adam().algorithm();
        this.spec = Architectures.specOf(checkpoint);
        String prefix = only == ALL ? "" : spec.layers().get(only).prefix();
        this.trainable = Trainable.of(distill, lora, prefix);
        Checkpoint wide = inF32();
        this.model = new LanguageModel(wide, spec, backend);
        this.reader = wide.reader(backend.host());
        this.arena =
                backend.newArena(
                        bytes(checkpoint, trainable, algorithm) + copied(wide, prefix, backend));
        if (only == ALL) {
            model.parameters().forEach(this::add);
        }
        for (int i = 0; i < spec.layers().size(); i++) {
            if (only != ALL && only != i) {
                continue;
            }
            DecoderBlock block = model.block(i, reader, arena);
            blocks.add(block);
            block.parameters().forEach(this::add);
            for (Linear linear : block.linears()) {
                if (spec.inOutLinears()) {
                    turned.add(linear.name() + ".weight");
                }
                if (lora != null && lora.targets().selects(linear.name())) {
                    adapt(linear, distill.seed());
                }
                if (linear.weight() instanceof Weight.Dense(Tensor values)) {
                    add(linear.name() + ".weight", values);
                }
            }
        }
    }

    /// Weights that a device with memory of its own takes copies of.
    static long copied(Checkpoint c, String prefix, Backend backend) {
        return backend.sharesHostMemory()
                ? 0
                : c.names().stream()
                        .filter(n -> n.startsWith(prefix))
                        .mapToLong(n -> c.info(n).byteSize() + 256)
                        .sum();
    }

    /// Of gradients, states and adapters.
    static long bytes(Checkpoint c, Trainable trainable, DistillSpec.Algorithm algorithm) {
        long dense =
                c.names().stream()
                        .filter(n -> trainable.selects(c, n))
                        .mapToLong(n -> parameterBytes(c.info(n).shape().size(), algorithm))
                        .sum();
        long adapters =
                trainable.lora() == null
                        ? 0
                        : adapterBytes(Architectures.specOf(c), trainable, algorithm);
        return dense + adapters + (1 << 16);
    }

    private static long adapterBytes(
            ModelSpec spec, Trainable trainable, DistillSpec.Algorithm algorithm) {
        Lora lora = trainable.lora();
        return lora.layers(spec)
                .filter(l -> l.name().startsWith(trainable.prefix()))
                .flatMap(l -> Stream.of(l.in(), l.out()))
                .mapToLong(width -> (long) lora.rank() * width)
                .map(size -> parameterBytes(size, algorithm) + 4 * size + AdamState.ALIGN)
                .sum();
    }

    /// Down random, up zero: at first the adapter adds nothing.
    private void adapt(Linear linear, long seed) {
        long in = linear.weight().inFeatures();
        Tensor down = arena.allocate(DType.F32, new Shape(lora.rank(), in));
        Tensor up =
                arena.allocate(DType.F32, new Shape(linear.weight().outFeatures(), lora.rank()));
        model.backend().run(new ForwardOp.Zero(up));
        randomize(down, seed * 31 + linear.name().hashCode());
        linear.adapt(new Linear.Adapter(down, up, lora.scale()));
        put(linear.name() + Lora.DOWN, down);
        put(linear.name() + Lora.UP, up);
    }

    /// Uniform between plus and minus the inverse root of the number of columns.
    private void randomize(Tensor t, long seed) {
        try (Arena host = model.backend().host().newArena()) {
            MemorySegment values = host.allocate(t.byteSize(), 64);
            Random random = new Random(seed);
            double bound = 1 / Math.sqrt(t.cols());
            for (long i = 0; i < t.shape().size(); i++) {
                float v = (float) (bound * (2 * random.nextDouble() - 1));
                values.setAtIndex(ValueLayout.JAVA_FLOAT, i, v);
            }
            model.backend().upload(t, values);
        }
    }

    /// Trains a random matrix beside the model's own parameters, one that is not written with them.
    ///
    /// @param memory holds it, its gradient and its states
    Tensor learnBeside(String name, long out, long in, long seed, TensorArena memory) {
        Tensor values = memory.allocate(DType.F32, new Shape(out, in));
        randomize(values, seed);
        put(name, values, memory);
        return values;
    }

    private static long parameterBytes(long size, DistillSpec.Algorithm algorithm) {
        return 4 * size + AdamState.ALIGN + AdamState.bytes(algorithm, size);
    }

    /// The checkpoint with copies in F32 of what is trained.
    private Checkpoint inF32() {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        for (String name : checkpoint.names()) {
            TensorInfo info = checkpoint.info(name);
            infos.put(
                    name,
                    trainable.selects(checkpoint, name)
                            ? new TensorInfo(name, DType.F32, info.shape())
                            : info);
        }
        return checkpoint.derived(
                checkpoint.config(),
                infos,
                (name, base, memory) ->
                        trainable.selects(checkpoint, name)
                                ? Values.convert(base.tensor(name), DType.F32, memory)
                                : base.tensor(name));
    }

    private void add(String name, Tensor values) {
        if (trainable.selects(checkpoint, name)) {
            put(name, values);
        }
    }

    private void put(String name, Tensor values) {
        put(name, values, arena);
    }

    private void put(String name, Tensor values, TensorArena memory) {
        Backend backend = model.backend();
        Tensor gradient = memory.allocate(DType.F32, values.shape());
        AdamState adam = AdamState.zeros(algorithm, values.shape(), memory, backend);
        trained.put(name, new Parameter(name, values, gradient, adam));
    }

    LanguageModel model() {
        return model;
    }

    List<DecoderBlock> blocks() {
        return blocks;
    }

    /// In a fixed order.
    SequencedMap<String, Parameter> trained() {
        return trained;
    }

    long trainedWeights() {
        return trained.values().stream().mapToLong(Parameter::size).sum();
    }

    /// Tells a tape which gradients go where.
    void watch(Tape tape) {
        trained.values().forEach(p -> tape.source(p.values(), p.gradient()));
    }

    void zeroGradients() {
        trained.values().forEach(p -> model.backend().run(new ForwardOp.Zero(p.gradient())));
    }

    /// Takes the values of another student with the same parameters.
    void copyFrom(Student other) {
        trained.forEach((name, p) ->
                model.backend()
                        .run(new ForwardOp.Scale(p.values(), other.trained.get(name).values(), 1)));
    }

    /// The checkpoint as it is to be written.
    Checkpoint result() {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        checkpoint.names().forEach(name -> infos.put(name, checkpoint.info(name)));
        return checkpoint.derived(checkpoint.config(), infos, this::written);
    }

    /// A tensor as the output has it: host memory, in the checkpoint's type and order.
    Tensor written(String name, TensorReader original, Arena memory) {
        Parameter p = trained.get(name);
        String linear = name.endsWith(".weight") ? name.substring(0, name.length() - 7) : name;
        if (lora != null && lora.merges() && trained.containsKey(linear + Lora.DOWN)) {
            return merged(name, linear, original, memory);
        }
        if (p == null) {
            return original.tensor(name);
        }
        return stored(name, onHost(p.values(), memory), memory);
    }

    /// The weight with what its adapter adds.
    private Tensor merged(String name, String linear, TensorReader original, Arena memory) {
        Tensor file = original.tensor(name);
        Tensor w = turned.contains(name) ? Transpose.of(file, memory) : file;
        Tensor down = trained.get(linear + Lora.DOWN).values();
        Tensor up = trained.get(linear + Lora.UP).values();
        return stored(name, lora.merged(w, down, up, model.backend(), memory), memory);
    }

    /// In the checkpoint's type and order.
    private Tensor stored(String name, Tensor values, Arena memory) {
        Tensor rounded = Values.convert(values, checkpoint.info(name).dtype(), memory);
        return turned.contains(name) ? Transpose.of(rounded, memory) : rounded;
    }

    /// The adapters' matrices in host memory, F32: `LAYER.lora_A.weight` `[rank, in]` and
    /// `LAYER.lora_B.weight` `[out, rank]`.
    SequencedMap<String, Tensor> adapters(Arena memory) {
        SequencedMap<String, Tensor> adapters = new LinkedHashMap<>();
        trained.forEach((name, p) -> {
            if (name.endsWith(Lora.DOWN) || name.endsWith(Lora.UP)) {
                adapters.put(name, onHost(p.values(), memory));
            }
        });
        return adapters;
    }

    private Tensor onHost(Tensor values, Arena memory) {
        MemorySegment host = memory.allocate(values.byteSize(), 64);
        model.backend().download(host, values);
        return Tensor.of(host, DType.F32, values.shape().dims());
    }

    @Override
    public void close() {
        arena.close();
        reader.close();
        model.close();
    }
}
