// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import io.llmc.formats.FormatException;
import io.llmc.formats.MemoryBudget;
import io.llmc.formats.StoredTensor;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.UserException;
import io.llmc.tensor.BlockType;
import io.llmc.tensor.DType;
import io.llmc.tensor.InputRounding;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/// Holds tensors of a checkpoint for as long as it is open, only those that were asked for. Safe
/// for use by several threads; closing takes back everything that it handed out.
public final class TensorReader implements AutoCloseable {
    /// Of copies: the widest vectors, and lines of caches.
    private static final long ALIGN = 64;

    private final Checkpoint checkpoint;
    private final MemoryBudget memory;
    private final Holding holding;
    private final Arena arena;
    private final AtomicLong mappedBytes = new AtomicLong();
    private final Map<String, Tensor> mapped = new ConcurrentHashMap<>();

    /// Tensors of a derived checkpoint, by what is made together.
    private final Map<String, Map<String, Tensor>> made = new ConcurrentHashMap<>();

    /// Matrices as the blocks that their file has.
    private final Map<String, Tensor> packed = new ConcurrentHashMap<>();

    /// Null for a checkpoint with files of its own.
    private final TensorReader base;

    private final Checkpoint.Derivation derivation;

    @SuppressWarnings("MustBeClosed") // closed by close()
    TensorReader(
            Checkpoint checkpoint,
            TensorReader base,
            Checkpoint.Derivation derivation,
            MemoryBudget memory,
            Holding holding) {
        this.memory = memory;
        this.holding = holding;
        this.arena = memory.newArena();
        this.checkpoint = checkpoint;
        this.base = base;
        this.derivation = derivation;
    }

    /// The tensor as it lies in the file: mapped read-only or copied, never on the heap. One whose
    /// offset in the file is no multiple of its element size is copied always, so that every tensor
    /// is aligned.
    ///
    /// @throws FormatException where there is no such tensor
    public Tensor tensor(String name) {
        if (base == null) {
            return mapped.computeIfAbsent(name, this::map);
        }
        TensorInfo info = checkpoint.info(name);
        Tensor tensor = made.computeIfAbsent(derivation.together(name), this::make).get(name);
        if (tensor == null
                || tensor.dtype() != info.dtype()
                || !tensor.shape().equals(info.shape())) {
            throw new IllegalStateException(info + " was made as " + tensor);
        }
        return tensor;
    }

    private Map<String, Tensor> make(String group) {
        return derivation.tensors(group, base, arena);
    }

    private Tensor map(String name) {
        return map(checkpoint.stored(name));
    }

    private Tensor map(StoredTensor stored) {
        TensorInfo info = stored.info();
        if (stored.isMapped() && holding == Holding.COPIED) {
            try (Arena mapping = Arena.ofConfined()) {
                MemorySegment bytes = stored.read(mapping);
                MemorySegment copy = arena.allocate(bytes.byteSize(), ALIGN).copyFrom(bytes);
                return Tensor.of(copy.asReadOnly(), info.dtype(), info.shape().dims());
            }
        }
        if (stored.isMapped()) {
            memory.take(info.byteSize());
            mappedBytes.addAndGet(info.byteSize());
        }
        MemorySegment bytes = stored.read(arena);
        int element = Math.max(1, info.dtype().bits() / 8);
        if (bytes.address() % element != 0) {
            bytes = arena.allocate(bytes.byteSize(), Long.BYTES).copyFrom(bytes).asReadOnly();
        }
        return Tensor.of(bytes, info.dtype(), info.shape().dims());
    }

    /// A tensor that must have this type and shape.
    ///
    /// @throws FormatException where it has not
    public Tensor tensor(String name, DType dtype, long... dims) {
        TensorInfo info = checkpoint.info(name);
        TensorInfo expected = TensorInfo.of(name, dtype, dims);
        if (!info.equals(expected)) {
            throw new FormatException(
                    checkpoint.file(name), "%s, expected %s".formatted(info, expected));
        }
        return tensor(name);
    }

    /// A matrix under its plain name, in the encoding that its file has for it.
    Weight matrix(String name) {
        Optional<BlockType> blocks = checkpoint.blocks(name);
        if (blocks.isEmpty()) {
            return new Weight.Dense(tensor(name));
        }
        return new Weight.Blocks(
                blocks.get(),
                checkpoint.info(name).shape().dim(1),
                packed.computeIfAbsent(name, _ -> map(checkpoint.stored(name).packed())));
    }

    /// A linear layer's matrix in whatever encoding the checkpoint has for it. Extra memory, such
    /// as for unpacked zero points, comes from this reader's arena.
    ///
    /// @param linear the layer's name, without `.weight`
    /// @throws FormatException where the tensors of this layer are missing or do not fit together
    /// @throws UserException where it is quantized in a way that llmc does not read
    public Weight weight(String linear) {
        return layout(linear).decode(this, linear);
    }

    /// How a linear layer's inputs are rounded; empty where they stay as they are.
    ///
    /// @throws FormatException where numbers that this needs are missing or make no sense
    public Optional<InputRounding> rounding(String linear) {
        return layout(linear).rounding(this, linear);
    }

    /// The type of the values that a linear layer's weight stands for.
    public DType valueType(String linear) {
        return layout(linear).valueType(this, linear);
    }

    /// As [#weight], of which only what is small is read: good for a look before any work.
    ///
    /// @return out, in
    public Shape require(String linear) {
        return layout(linear).require(this, linear);
    }

    private WeightLayout layout(String linear) {
        checkpoint.quantized();
        for (WeightLayout layout : Layouts.ALL) {
            if (layout.matches(checkpoint, linear)) {
                return layout;
            }
        }
        throw new FormatException(
                checkpoint.directory(),
                "has no weight for '%s': expected '%s.weight', or its packed form and a quantization_config that explains it%s"
                        .formatted(linear, linear, checkpoint.found(linear + ".weight")));
    }

    public Arena arena() {
        return arena;
    }

    public Checkpoint checkpoint() {
        return checkpoint;
    }

    /// @throws FormatException where a file became shorter while it was mapped
    @Override
    public void close() {
        arena.close();
        memory.giveBack(mappedBytes.getAndSet(0));
        if (base != null) {
            base.close();
        } else {
            checkpoint.requireWhole();
        }
    }
}
