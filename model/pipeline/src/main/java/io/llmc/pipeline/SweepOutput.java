// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.CheckpointWriter;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.TensorReader;
import io.llmc.formats.WeightLayout;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LanguageModel;
import io.llmc.model.Linear;
import io.llmc.model.ModelSpec;
import io.llmc.model.Transpose;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// Puts finished blocks into the files of the output, at their places, and remembers checksums of
/// what was in memory.
final class SweepOutput implements BlockStream.BlockOutput {
    private final ModelSpec spec;
    private final Backend backend;
    private final OutputPlan plan;
    private final WeightLayout layout;
    private final CheckpointWriter writer;
    private final Journal journal;
    private final Probe probe;
    private final Runnable beforeJournal;
    private final Map<String, Long> checksums = new LinkedHashMap<>();

    /// @param beforeJournal saves what a later run needs to go on after a block
    SweepOutput(
            ModelSpec spec,
            Backend backend,
            OutputPlan plan,
            WeightLayout layout,
            CheckpointWriter writer,
            Journal journal,
            Probe probe,
            Runnable beforeJournal) {
        this.spec = spec;
        this.backend = backend;
        this.plan = plan;
        this.layout = layout;
        this.writer = writer;
        this.journal = journal;
        this.probe = probe;
        this.beforeJournal = beforeJournal;
        journal.checksums()
                .forEach((name, sum) -> {
                    checksums.put(name, sum);
                    writer.markWritten(name);
                });
    }

    @Override
    public int minZero(BlockPass pass) {
        return pass.encoding().map(layout::minZero).orElse(0);
    }

    @Override
    public void write(
            int index, DecoderBlock block, TensorReader reader, List<ModuleReport> reports) {
        SequencedMap<String, Long> written = new LinkedHashMap<>();
        try (Arena memory = backend.host().newArena()) {
            for (Linear linear : block.linears()) {
                spell(linear, memory).forEach((name, tensor) -> write(name, tensor, written));
            }
            for (TensorInfo info : plan.tensors(block.spec().prefix())) {
                if (!written.containsKey(info.name())) {
                    Tensor own = block.parameters().get(info.name());
                    Tensor tensor = own == null ? reader.tensor(info.name()) : toHost(own, memory);
                    write(info.name(), tensor, written);
                }
            }
            probe.advance(block);
        }
        beforeJournal.run();
        journal.append(new Journal.Entry(index, written, reports));
        checksums.putAll(written);
    }

    @Override
    public Weight asWritten(String linear, Weight weight, TensorArena arena) {
        if (plan.encoded(linear).isEmpty() || !plan.isDense(linear)) {
            return weight;
        }
        DType dtype = plan.encoded(linear).getFirst().dtype();
        Tensor values;
        if (weight instanceof Weight.Dense(Tensor own)) {
            values = own;
        } else {
            Shape shape = new Shape(weight.outFeatures(), weight.inFeatures());
            values = arena.allocate(DType.F32, shape);
            backend.run(new CompressionOp.Dequantize(values, weight));
        }
        if (values.dtype() == dtype) {
            return new Weight.Dense(values);
        }
        Tensor rounded = arena.allocate(dtype, values.shape());
        backend.run(new ForwardOp.Scale(rounded, values, 1));
        return new Weight.Dense(rounded);
    }

    /// The tensors of a compressed layer; none for a layer that stays as it is.
    private SequencedMap<String, Tensor> spell(Linear linear, Arena memory) {
        List<TensorInfo> planned = plan.encoded(linear.name());
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        if (planned.isEmpty()) {
            return tensors;
        }
        Weight host = linear.weight().with(t -> toHost(t, memory));
        switch (host) {
            case Weight.Grouped grouped -> {
                Scales.require(linear.name(), grouped, layout, plan.dtype(linear.name()));
                tensors.putAll(
                        layout.encode(linear.name(), host, grouped.scales().dtype(), memory));
            }
            case Weight.Blocks _ ->
                    throw new IllegalStateException("no layout writes blocks: " + linear.name());
            case Weight.Scaled _ -> tensors.putAll(layout.encode(linear.name(), host, memory));
            case Weight.Dense(Tensor values) ->
                    tensors.put(
                            planned.getFirst().name(),
                            spec.inOutLinears() ? Transpose.of(values, memory) : values);
        }
        return tensors;
    }

    private Tensor toHost(Tensor t, Arena memory) {
        if (backend.device().equals("cpu")) {
            return t;
        }
        MemorySegment copy = memory.allocate(t.byteSize(), 64);
        backend.download(copy, t);
        return Tensor.of(copy, t.dtype(), t.shape().dims());
    }

    private void write(String name, Tensor tensor, Map<String, Long> written) {
        Finite.requireWritable(name, tensor);
        writer.write(name, tensor);
        written.put(name, CheckpointWriter.checksum(tensor));
    }

    /// Copies what lies outside the blocks: mapped once, where the model has it in host memory.
    void writeRest(LanguageModel model) {
        boolean here = backend.device().equals("cpu");
        for (TensorInfo info : plan.tensors()) {
            if (!checksums.containsKey(info.name())) {
                Tensor own = here ? model.parameters().get(info.name()) : null;
                try (TensorReader reader = model.checkpoint().reader(backend.host())) {
                    Tensor tensor = own == null ? reader.tensor(info.name()) : own;
                    write(info.name(), tensor, checksums);
                }
            }
        }
    }

    /// CRC-32C of every tensor of the output as it was in memory.
    Map<String, Long> checksums() {
        return checksums;
    }
}
