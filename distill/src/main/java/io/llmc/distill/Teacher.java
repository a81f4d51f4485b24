// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.Runner;
import io.llmc.backend.TensorArena;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.LanguageModel;
import io.llmc.model.ModelSpec;
import io.llmc.model.Positions;
import io.llmc.model.Tap;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.ArenaPlan;
import io.llmc.pipeline.StreamMemory;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.util.ArrayList;
import java.util.List;

/// A model that is only asked. Its weights stay as they are stored, packed ones too.
final class Teacher implements AutoCloseable {
    private final LanguageModel model;
    private final TensorReader reader;
    private final TensorArena arena;
    private final TensorArena tables;
    private final Positions positions;
    private final List<DecoderBlock> blocks = new ArrayList<>();

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Teacher(Checkpoint checkpoint, Backend backend, int length) {
        this.model = new LanguageModel(checkpoint, Architectures.specOf(checkpoint), backend);
        this.reader = checkpoint.reader(backend.host());
        this.arena = backend.newArena(weights(checkpoint, backend));
        this.tables = backend.newArena(Positions.bytes(model.spec(), length) + 4096);
        this.positions = Positions.of(model.spec(), length, backend, tables);
        for (int i = 0; i < model.spec().layers().size(); i++) {
            blocks.add(model.block(i, reader, arena));
        }
    }

    private static long weights(Checkpoint c, Backend backend) {
        return backend.sharesHostMemory()
                ? 1 << 12
                : c.names().stream().mapToLong(n -> c.info(n).byteSize() + 256).sum();
    }

    LanguageModel model() {
        return model;
    }

    int vocabulary() {
        return model.spec().vocabulary();
    }

    /// Bytes outside the Java heap that a teacher takes at most before it is asked, from headers
    /// alone.
    static long residentBytes(Checkpoint c, Backend backend, int length) {
        ModelSpec spec = Architectures.specOf(c);
        long mapped =
                c.names().stream()
                        .mapToLong(n -> StreamMemory.inMemory(c, n, spec.inOutLinears()))
                        .sum();
        return mapped + weights(c, backend) + Positions.bytes(spec, length) + (1 << 14);
    }

    /// Bytes that [#normed] takes of an arena at most, from headers alone.
    static long bytes(Checkpoint c, int rows, int length) {
        ModelSpec spec = Architectures.specOf(c);
        int hidden = spec.hidden();
        long most = 0;
        for (DecoderBlock block : StreamMemory.outlines(c, spec)) {
            most = Math.max(most, ArenaPlan.kept(block, rows, hidden, length));
        }
        return most + 12L * rows * hidden + 4096;
    }

    /// Listens to a model's blocks. The tensors are valid during the call.
    interface Listener {
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
    Tensor normed(Windows windows, TensorArena memory, Listener listener) {
        return normed(model, blocks, positions, windows, memory, listener);
    }

    static Tensor normed(
            LanguageModel model,
            List<DecoderBlock> blocks,
            Positions positions,
            Windows windows,
            TensorArena memory,
            Listener listener) {
        Backend backend = model.backend();
        long rows = (long) windows.count() * windows.length();
        Shape shape = new Shape(rows, model.spec().hidden());
        Tensor x = memory.allocate(DType.F32, shape);
        try (TensorArena scratch = memory.scratch()) {
            Tensor first = model.embed(new Forward(backend, scratch, positions), windows.ids());
            backend.run(new ForwardOp.Scale(x, first, 1));
        }
        for (int i = 0; i < blocks.size(); i++) {
            try (TensorArena scratch = memory.scratch()) {
                Runner runner = heard(backend, listener, i);
                Tensor y =
                        blocks.get(i)
                                .forward(
                                        new Forward(
                                                backend, runner, scratch, positions, Tap.NONE,
                                                false),
                                        x);
                // The block has read x for the last time.
                backend.run(new ForwardOp.Scale(x, y, 1));
            }
            listener.output(i, x);
        }
        Tensor normed = memory.allocate(DType.F32, shape);
        model.finalNorm(new Forward(backend, memory, positions), normed, x);
        return normed;
    }

    /// A runner that tells a listener of a block's attention.
    static Runner heard(Runner runner, Listener listener, int block) {
        return op -> {
            runner.run(op);
            if (op instanceof ForwardOp.Attention attention) {
                listener.attention(block, attention);
            }
        };
    }

    void logits(Tensor out, Tensor normed, TensorArena scratch) {
        model.logits(new Forward(model.backend(), scratch, positions), out, normed);
    }

    @Override
    public void close() {
        tables.close();
        arena.close();
        reader.close();
        model.close();
    }
}
