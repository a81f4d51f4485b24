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
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;

/// A model in memory whose trained parameters are F32, each with its gradient and what Adam
/// remembers of it; the others stay as the checkpoint has them.
final class Student implements AutoCloseable {
    /// @param name as in the checkpoint
    /// @param values `[out, in]` for a linear layer, whatever the checkpoint's order
    /// @param gradient, m and v like `values`
    record Parameter(String name, Tensor values, Tensor gradient, Tensor m, Tensor v) {
        long size() {
            return values.shape().size();
        }
    }

    private final Checkpoint checkpoint;
    private final LanguageModel model;
    private final TensorReader reader;
    private final TensorArena arena;
    private final List<DecoderBlock> blocks = new ArrayList<>();
    private final SequencedMap<String, Parameter> trained = new LinkedHashMap<>();

    /// Linear layers that the checkpoint stores as `[in, out]`.
    private final Set<String> turned = new HashSet<>();

    /// @param globs of what is trained; empty for all
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Student(Checkpoint checkpoint, Backend backend, List<String> globs) {
        this.checkpoint = checkpoint;
        Checkpoint wide = inF32(checkpoint, globs);
        ModelSpec spec = Architectures.specOf(wide);
        this.model = new LanguageModel(wide, spec, backend);
        this.reader = wide.reader();
        this.arena = backend.newArena(arenaBytes(checkpoint, globs));
        model.parameters().forEach((name, t) -> add(name, t, globs));
        for (int i = 0; i < spec.layers().size(); i++) {
            DecoderBlock block = model.block(i, reader, arena);
            blocks.add(block);
            block.parameters().forEach((name, t) -> add(name, t, globs));
            for (Linear linear : block.linears()) {
                if (linear.weight() instanceof Weight.Dense(Tensor values)) {
                    add(linear.name() + ".weight", values, globs);
                    if (spec.inOutLinears()) {
                        turned.add(linear.name() + ".weight");
                    }
                }
            }
        }
    }

    /// @throws UserException where the globs name no tensor
    static void requireMatches(Checkpoint c, List<String> globs) {
        if (c.names().stream().noneMatch(name -> trains(globs, name))) {
            throw new UserException(
                    "--train %s matches none of the student's tensors"
                            .formatted(String.join(",", globs)),
                    "names look like " + c.names().iterator().next());
        }
    }

    private static boolean trains(List<String> globs, String name) {
        return globs.isEmpty() || globs.stream().anyMatch(g -> Targets.matches(g, name));
    }

    private static long arenaBytes(Checkpoint c, List<String> globs) {
        return c.names().stream()
                        .filter(name -> trains(globs, name))
                        .mapToLong(name -> 3 * (4 * c.info(name).shape().size() + 256))
                        .sum()
                + (1 << 16);
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
            trained.put(
                    name,
                    new Parameter(
                            name,
                            values,
                            arena.allocate(DType.F32, values.shape()),
                            arena.allocate(DType.F32, values.shape()),
                            arena.allocate(DType.F32, values.shape())));
        }
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
        if (p == null) {
            return original.tensor(name);
        }
        MemorySegment host = memory.allocate(p.values().byteSize(), 64);
        model.backend().download(host, p.values());
        Tensor values = Tensor.of(host, DType.F32, p.values().shape().dims());
        Tensor rounded = Values.convert(values, checkpoint.info(name).dtype(), memory);
        return turned.contains(name) ? Transpose.of(rounded, memory) : rounded;
    }

    Map<String, DType> types() {
        Map<String, DType> types = new LinkedHashMap<>();
        checkpoint.names().forEach(n -> types.put(n, checkpoint.info(n).dtype()));
        return types;
    }

    @Override
    public void close() {
        arena.close();
        reader.close();
        model.close();
    }
}
