// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.backend.Backend;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Linear;
import io.llmc.model.language.LanguageModel;
import io.llmc.model.language.Transpose;
import io.llmc.pipeline.Finite;
import io.llmc.pipeline.Journal;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Scheme;
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
final class SweepOutput implements BlockStream.Listener {
    private final Backend backend;
    private final OutputPlan plan;
    private final CheckpointWriter writer;
    private final Map<String, Long> checksums = new LinkedHashMap<>();

    /// Of the block that was finished last.
    private SequencedMap<String, Long> written;

    /// @param journal of what an earlier run has written
    SweepOutput(Backend backend, OutputPlan plan, CheckpointWriter writer, Journal journal) {
        this.backend = backend;
        this.plan = plan;
        this.writer = writer;
        checksums.putAll(journal.checksums());
        checksums.keySet().forEach(writer::markWritten);
    }

    @Override
    public void finished(BlockStream.Finished finished) {
        DecoderBlock block = finished.block();
        written = new LinkedHashMap<>();
        try (Arena memory = backend.host().newArena()) {
            for (Linear linear : block.linears()) {
                spell(linear, memory).forEach((name, tensor) -> write(name, tensor, written));
            }
            for (TensorInfo info : plan.tensors(block.spec().prefix())) {
                String name = info.name();
                if (!written.containsKey(name)) {
                    Tensor own = block.parameters().get(name);
                    Tensor tensor =
                            own == null ? finished.reader().tensor(name) : toHost(own, memory);
                    write(name, tensor, written);
                }
            }
        }
        checksums.putAll(written);
    }

    /// What the journal keeps of the block that was finished last.
    Journal.Entry entry(BlockStream.Finished block) {
        return new Journal.Entry(block.index(), written, block.reports());
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
                Scales.require(linear.name(), grouped, plan.layout(), plan.dtype(linear.name()));
                tensors.putAll(encode(linear, host, memory));
            }
            case Weight.Blocks _ ->
                    throw new IllegalStateException("no layout writes blocks: " + linear.name());
            case Weight.Scaled scaled -> {
                Scales.require(linear.name(), scaled, plan.layout(), plan.dtype(linear.name()));
                tensors.putAll(encode(linear, host, memory));
            }
            case Weight.Dense(Tensor values) ->
                    tensors.put(
                            planned.getFirst().name(),
                            plan.target().inOutLinears() ? Transpose.of(values, memory) : values);
        }
        if (linear.rounding() != null) {
            InputRounding rounding = linear.rounding().with(t -> toHost(t, memory));
            tensors.putAll(plan.layout().encode(linear.name(), rounding, memory));
        }
        return tensors;
    }

    private SequencedMap<String, Tensor> encode(Linear linear, Weight host, Arena memory) {
        Scheme scheme = plan.scheme(linear.name()).orElseThrow();
        return plan.layout().encode(linear.name(), host, scheme, host.valueType(), memory);
    }

    private Tensor toHost(Tensor t, Arena memory) {
        if (backend.sharesHostMemory()) {
            return t;
        }
        MemorySegment copy = memory.allocate(t.byteSize(), 64);
        backend.download(copy, t);
        return Tensor.of(copy, t.dtype(), t.shape().dims());
    }

    private void write(String name, Tensor tensor, Map<String, Long> sums) {
        Finite.requireWritable(plan.config(), name, tensor);
        writer.write(name, tensor);
        sums.put(name, CheckpointWriter.checksum(tensor));
    }

    /// Writes what lies outside of the blocks: what was rounded of it, then what stays, mapped once
    /// where the model has it in host memory.
    void writeRest(LanguageModel model, OuterLayers outer) {
        boolean here = backend.sharesHostMemory();
        outer.rounded()
                .forEach((name, weight) -> {
                    if (!checksums.containsKey(plan.encoded(name).getFirst().name())) {
                        try (Arena memory = backend.host().newArena()) {
                            Weight host = weight.with(t -> toHost(t, memory));
                            plan.layout()
                                    .encode(name, host, memory)
                                    .forEach((tensor, values) -> write(tensor, values, checksums));
                        }
                    }
                });
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
