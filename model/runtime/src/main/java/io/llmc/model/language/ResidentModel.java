// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.language;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.Runner;
import io.llmc.backend.TensorArena;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Holding;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.ModelSpec;
import io.llmc.model.Positions;
import io.llmc.model.Tap;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntPredicate;

/// A model whose blocks stay in memory with their weights as they are stored, packed ones too. A
/// pass goes through all of them at once.
public final class ResidentModel implements AutoCloseable {
    private final LanguageModel model;
    private final TensorReader reader;
    private final TensorArena arena;
    private final Positions positions;
    private final List<DecoderBlock> blocks = new ArrayList<>();

    /// All of a model.
    ///
    /// @param length tokens of a sequence
    @MustBeClosed
    public ResidentModel(Checkpoint checkpoint, ModelSpec spec, Backend backend, int length) {
        this(checkpoint, spec, backend, length, Holding.MAPPED);
    }

    /// All of a model, which is read once where the device shares the host's memory and `holding`
    /// asks for copies.
    @MustBeClosed
    public ResidentModel(
            Checkpoint checkpoint, ModelSpec spec, Backend backend, int length, Holding holding) {
        this(
                checkpoint,
                spec,
                backend,
                length,
                backend.sharesHostMemory() ? holding : Holding.MAPPED,
                _ -> true,
                copies(checkpoint, "", backend));
    }

    /// Some of its blocks.
    ///
    /// @param chosen by index
    /// @param bytes of [#arena]: [#copies], and what the caller puts there
    @MustBeClosed
    public ResidentModel(
            Checkpoint checkpoint,
            ModelSpec spec,
            Backend backend,
            int length,
            IntPredicate chosen,
            long bytes) {
        this(checkpoint, spec, backend, length, Holding.MAPPED, chosen, bytes);
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    private ResidentModel(
            Checkpoint checkpoint,
            ModelSpec spec,
            Backend backend,
            int length,
            Holding holding,
            IntPredicate chosen,
            long bytes) {
        this.model = new LanguageModel(checkpoint, spec, backend, holding);
        this.reader = checkpoint.reader(backend.host(), holding);
        this.arena = backend.newArena(bytes + Positions.bytes(spec, length) + (1 << 13));
        this.positions = Positions.of(spec, length, backend, arena);
        for (int i = 0; i < spec.layers().size(); i++) {
            if (chosen.test(i)) {
                blocks.add(model.block(i, reader, arena));
            }
        }
    }

    /// Bytes of an arena for copies of weights, which a device with memory of its own takes.
    ///
    /// @param prefix of the tensors' names
    public static long copies(Checkpoint c, String prefix, Backend backend) {
        return backend.sharesHostMemory()
                ? 0
                : c.names().stream()
                        .filter(n -> n.startsWith(prefix))
                        .mapToLong(n -> c.info(n).byteSize() + 256)
                        .sum();
    }

    public LanguageModel model() {
        return model;
    }

    public List<DecoderBlock> blocks() {
        return blocks;
    }

    /// Holds what lives as long as the blocks.
    public TensorArena arena() {
        return arena;
    }

    public Positions positions() {
        return positions;
    }

    /// Listens to a model's blocks. The tensors are valid during the call.
    public interface Listener {
        Listener NONE =
                new Listener() {
                    @Override
                    public void attention(int block, ForwardOp.Attention op) {}

                    @Override
                    public void output(int block, Tensor x) {}
                };

        /// Attention of a block has run.
        void attention(int block, ForwardOp.Attention op);

        /// @param x the residual stream behind the block, `[tokens, hidden]`
        void output(int block, Tensor x);
    }

    /// What the head reads, `[tokens, hidden]`, in `memory`.
    ///
    /// @param ids I32 host memory, whole sequences
    public Tensor normed(MemorySegment ids, TensorArena memory, Listener listener) {
        Tensor x = stream(ids, new Forward(model.backend(), memory, positions), listener);
        return new Head(model).norm(x, memory);
    }

    /// The residual stream behind the last block, `[tokens, hidden]`, in the pass's arena.
    ///
    /// @param ids I32 host memory, the pass's rows
    public Tensor stream(MemorySegment ids, Forward pass, Listener listener) {
        Backend backend = model.backend();
        TensorArena memory = pass.arena();
        Shape shape = new Shape(ids.byteSize() / 4, model.spec().width());
        Tensor x = memory.allocate(DType.F32, shape);
        try (TensorArena scratch = memory.scratch()) {
            Tensor first = model.embed(pass.in(scratch), ids);
            backend.run(new ForwardOp.Scale(x, first, 1));
        }
        for (int i = 0; i < blocks.size(); i++) {
            try (TensorArena scratch = memory.scratch()) {
                Runner runner = heard(backend, listener, i);
                Forward f =
                        new Forward(
                                backend,
                                runner,
                                scratch,
                                pass.positions(),
                                Tap.NONE,
                                false,
                                pass.past());
                Tensor y = blocks.get(i).forward(f, x);
                // The block has read x for the last time.
                backend.run(new ForwardOp.Scale(x, y, 1));
            }
            listener.output(i, x);
        }
        return x;
    }

    /// A runner that tells a listener of a block's attention.
    public static Runner heard(Runner runner, Listener listener, int block) {
        if (listener == Listener.NONE) {
            return runner;
        }
        return op -> {
            runner.run(op);
            if (op instanceof ForwardOp.Attention attention) {
                listener.attention(block, attention);
            }
        };
    }

    @Override
    public void close() {
        arena.close();
        reader.close();
        model.close();
    }
}
