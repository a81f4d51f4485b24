// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.Op;
import io.llmc.backend.TensorArena;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TensorReader;
import io.llmc.formats.UserException;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LanguageModel;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Tape;
import io.llmc.model.Transpose;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.Targets;
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

    private final Checkpoint checkpoint;
    private final LanguageModel model;
    private final TensorReader reader;
    private final TensorArena arena;
    private final Lora lora;
    private final DistillSpec.Algorithm algorithm;
    private final List<DecoderBlock> blocks = new ArrayList<>();
    private final SequencedMap<String, Parameter> trained = new LinkedHashMap<>();

    /// Linear layers that the checkpoint stores as `[in, out]`.
    private final Set<String> turned = new HashSet<>();

    /// @param spec what is trained
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Student(Checkpoint checkpoint, Backend backend, DistillSpec distill) {
        this.checkpoint = checkpoint;
        this.lora = distill.lora();
        this.algorithm = distill.adam().algorithm();
        List<String> globs = lora == null ? distill.train() : List.of("-");
        Checkpoint wide = inF32(checkpoint, globs);
        ModelSpec spec = Architectures.specOf(wide);
        this.model = new LanguageModel(wide, spec, backend);
        this.reader = wide.reader();
        long adapters = lora == null ? 0 : adapterBytes(spec, lora, algorithm);
        this.arena = backend.newArena(arenaBytes(checkpoint, globs, algorithm) + adapters);
        model.parameters().forEach((name, t) -> add(name, t, globs));
        for (int i = 0; i < spec.layers().size(); i++) {
            DecoderBlock block = model.block(i, reader, arena);
            blocks.add(block);
            block.parameters().forEach((name, t) -> add(name, t, globs));
            for (Linear linear : block.linears()) {
                if (spec.inOutLinears()) {
                    turned.add(linear.name() + ".weight");
                }
                if (lora != null && lora.targets().selects(linear.name())) {
                    adapt(linear, distill.seed());
                }
                if (linear.weight() instanceof Weight.Dense(Tensor values)) {
                    add(linear.name() + ".weight", values, globs);
                }
            }
        }
    }

    /// @throws UserException where nothing would be trained
    static void requireMatches(Checkpoint c, DistillSpec spec) {
        List<String> globs = spec.train();
        if (spec.lora() == null && c.names().stream().noneMatch(name -> trains(globs, name))) {
            throw new UserException(
                    "--train %s matches none of the student's tensors"
                            .formatted(String.join(",", globs)),
                    "names look like " + c.names().iterator().next());
        }
        ModelSpec model = Architectures.specOf(c);
        if (spec.lora() != null
                && model.layers().stream()
                        .flatMap(layer -> layer.linears(model.hidden()).stream())
                        .noneMatch(l -> spec.lora().targets().selects(l.name()))) {
            throw new UserException(
                    "--lora-targets %s matches none of the student's linear layers"
                            .formatted(String.join(",", spec.lora().targets().include())),
                    "names look like "
                            + model.layers().getFirst().linears(model.hidden()).getFirst().name());
        }
    }

    private static long adapterBytes(ModelSpec spec, Lora lora, DistillSpec.Algorithm algorithm) {
        return spec.layers().stream()
                .flatMap(layer -> layer.linears(spec.hidden()).stream())
                .filter(l -> lora.targets().selects(l.name()))
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
        Backend backend = model.backend();
        backend.run(new Op.Zero(up));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment values = host.allocate(down.byteSize(), 64);
            Random random = new Random(seed * 31 + linear.name().hashCode());
            double bound = 1 / Math.sqrt(in);
            for (long i = 0; i < down.shape().size(); i++) {
                float v = (float) (bound * (2 * random.nextDouble() - 1));
                values.setAtIndex(ValueLayout.JAVA_FLOAT, i, v);
            }
            backend.upload(down, values);
        }
        linear.adapt(new Linear.Adapter(down, up, lora.scale()));
        put(linear.name() + ".lora_A.weight", down);
        put(linear.name() + ".lora_B.weight", up);
    }

    private static boolean trains(List<String> globs, String name) {
        return globs.isEmpty() || globs.stream().anyMatch(g -> Targets.matches(g, name));
    }

    /// Of gradients and Adam's states.
    static long arenaBytes(Checkpoint c, List<String> globs, DistillSpec.Algorithm algorithm) {
        return c.names().stream()
                        .filter(name -> trains(globs, name))
                        .mapToLong(name -> parameterBytes(c.info(name).shape().size(), algorithm))
                        .sum()
                + (1 << 16);
    }

    private static long parameterBytes(long size, DistillSpec.Algorithm algorithm) {
        return 4 * size + AdamState.ALIGN + AdamState.bytes(algorithm, size);
    }

    /// The checkpoint with copies in F32 of what is trained.
    private static Checkpoint inF32(Checkpoint c, List<String> globs) {
        SequencedMap<String, TensorInfo> infos = new LinkedHashMap<>();
        for (String name : c.names()) {
            TensorInfo info = c.info(name);
            boolean widens = info.dtype().isFloat() && trains(globs, name);
            infos.put(name, widens ? new TensorInfo(name, DType.F32, info.shape()) : info);
        }
        return c.derived(
                c.config(),
                infos,
                (name, base, memory) -> {
                    Tensor t = base.tensor(name);
                    return t.dtype().isFloat() && trains(globs, name)
                            ? Values.convert(t, DType.F32, memory)
                            : t;
                });
    }

    private void add(String name, Tensor values, List<String> globs) {
        if (values.dtype() == DType.F32 && trains(globs, name)) {
            put(name, values);
        }
    }

    private void put(String name, Tensor values) {
        Backend backend = model.backend();
        Tensor gradient = arena.allocate(DType.F32, values.shape());
        AdamState adam = AdamState.zeros(algorithm, values.shape(), arena, backend);
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
        trained.values().forEach(p -> model.backend().run(new Op.Zero(p.gradient())));
    }

    /// A tensor as the output has it: host memory, in the checkpoint's type and order.
    Tensor written(String name, TensorReader original, Arena memory) {
        Parameter p = trained.get(name);
        String linear = name.endsWith(".weight") ? name.substring(0, name.length() - 7) : name;
        if (trained.containsKey(linear + ".lora_A.weight")) {
            return merged(name, linear, original, memory);
        }
        if (p == null) {
            return original.tensor(name);
        }
        MemorySegment host = memory.allocate(p.values().byteSize(), 64);
        model.backend().download(host, p.values());
        Tensor values = Tensor.of(host, DType.F32, p.values().shape().dims());
        Tensor rounded = Values.convert(values, checkpoint.info(name).dtype(), memory);
        return turned.contains(name) ? Transpose.of(rounded, memory) : rounded;
    }

    /// The weight with what its adapter adds.
    private Tensor merged(String name, String linear, TensorReader original, Arena memory) {
        Tensor stored = original.tensor(name);
        Tensor w = turned.contains(name) ? Transpose.of(stored, memory) : stored;
        Tensor down = trained.get(linear + ".lora_A.weight").values();
        Tensor up = trained.get(linear + ".lora_B.weight").values();
        Backend backend = model.backend();
        try (TensorArena scratch =
                backend.newArena(16 * w.shape().size() + 4 * down.shape().size() + 8192)) {
            Tensor turnedDown = scratch.allocate(DType.F32, new Shape(down.cols(), down.rows()));
            Tensor added = scratch.allocate(DType.F32, w.shape());
            Tensor base = scratch.allocate(DType.F32, w.shape());
            Tensor sum = scratch.allocate(DType.F32, w.shape());
            backend.run(new Op.Transpose(turnedDown, down));
            backend.run(new Op.Matmul(added, up, new Weight.Dense(turnedDown)));
            backend.run(new Op.Scale(base, backend.adopt(w, scratch), 1));
            backend.run(new Op.Add(sum, base, added, lora.scale()));
            MemorySegment host = memory.allocate(sum.byteSize(), 64);
            backend.download(host, sum);
            Tensor values = Tensor.of(host, DType.F32, sum.shape().dims());
            Tensor rounded = Values.convert(values, checkpoint.info(name).dtype(), memory);
            return turned.contains(name) ? Transpose.of(rounded, memory) : rounded;
        }
    }

    @Override
    public void close() {
        arena.close();
        reader.close();
        model.close();
    }
}
