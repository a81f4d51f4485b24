// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.Op;
import io.llmc.backend.TensorArena;
import io.llmc.formats.TensorReader;
import io.llmc.formats.UserException;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.LanguageModel;
import io.llmc.model.Positions;
import io.llmc.model.Stage;
import io.llmc.model.Stage.Activations;
import io.llmc.model.Tap;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.ObjIntConsumer;

/// Sequences on their way through a model's blocks: the residual stream of each, and what the next
/// stage reads. They move chunk by chunk; the size of a chunk depends on the length of the
/// sequences alone, so that neither threads nor a memory cap change any sum.
public final class HiddenStates implements AutoCloseable {
    /// Rows of a chunk: enough to multiply at full speed, few enough to be small.
    private static final int CHUNK_ROWS = 2048;

    private final LanguageModel model;
    private final Windows windows;
    private final int perChunk;
    private final Path spill;
    private final TensorArena tables;
    private final Positions positions;
    private final Backend backend;
    private ChunkStore store;

    /// Null until the first mark.
    private ChunkStore marked;

    private TensorArena scratch;
    private long scratchBytes;

    /// @param spill a directory for what does not stay in memory; null to keep everything in memory
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public HiddenStates(LanguageModel model, Windows windows, Path spill) {
        this.model = model;
        this.windows = windows;
        this.backend = model.backend();
        this.perChunk = Math.max(1, CHUNK_ROWS / windows.length());
        this.spill = spill;
        this.store = store("hidden");
        this.tables = backend.newArena(Positions.bytes(model.spec(), windows.length()) + 256);
        this.positions = Positions.of(model.spec(), windows.length(), backend, tables);
        this.scratchBytes = 4L * rows(0) * model.spec().hidden() * 4 + (1 << 16);
        this.scratch = backend.newArena(scratchBytes);
    }

    /// On a device with memory of its own sequences stay there, unless they would take more than
    /// half of what is left: blocks and passes need the rest.
    private ChunkStore store(String name) {
        long rows = (long) windows.count() * windows.length();
        long bytes = 4 * rows * (model.spec().hidden() + MemoryPlan.kept(model.spec()));
        return ChunkStore.in(backend, spill, name, bytes <= backend.room() / 2);
    }

    public int chunks() {
        return Math.ceilDiv(windows.count(), perChunk);
    }

    /// The first window of a chunk.
    public int firstWindow(int chunk) {
        return chunk * perChunk;
    }

    private int lastWindow(int chunk) {
        return Math.min(windows.count(), (chunk + 1) * perChunk);
    }

    private int rows(int chunk) {
        return (lastWindow(chunk) - firstWindow(chunk)) * windows.length();
    }

    public Windows windows() {
        return windows;
    }

    /// Rows that [#forEach] shows at a time, at most.
    public int chunkRows() {
        return rows(0);
    }

    public Positions positions() {
        return positions;
    }

    /// Puts every sequence before the first block.
    ///
    /// @throws UserException where an id is none of the model's
    public void embed() {
        requireKnown();
        for (int c = 0; c < chunks(); c++) {
            try (TensorArena arena = scratch.scratch()) {
                Tensor x =
                        model.embed(forward(arena), windows.range(firstWindow(c), lastWindow(c)));
                store.save(c, Activations.of(x));
            }
        }
    }

    private void requireKnown() {
        int vocabulary = model.spec().vocabulary();
        for (long i = 0; i < windows.ids().byteSize() / 4; i++) {
            int id = windows.ids().getAtIndex(ValueLayout.JAVA_INT, i);
            if (id < 0 || id >= vocabulary) {
                throw new UserException(
                        "token id %d is outside the model's vocabulary of %d"
                                .formatted(id, vocabulary),
                        "tokenizer.json or the ids are those of another model");
            }
        }
    }

    /// Makes room for passes through this block.
    @SuppressWarnings("MustBeClosed") // closed by close()
    public void prepare(DecoderBlock block) {
        long needed =
                ArenaPlan.of(block, rows(0), model.spec().hidden(), positions, model.backend());
        if (needed > scratchBytes) {
            scratch.close();
            scratchBytes = needed;
            scratch = backend.newArena(needed);
        }
    }

    /// Bytes of the arena that passes run in.
    public long scratchBytes() {
        return scratchBytes;
    }

    /// Shows a stage's inputs to a tap.
    public void observe(Stage stage, Tap tap) {
        for (int c = 0; c < chunks(); c++) {
            try (TensorArena arena = scratch.scratch()) {
                stage.run(forward(arena).observing(tap), store.load(c, arena));
            }
        }
    }

    /// Moves every sequence through a stage.
    public void advance(Stage stage) {
        advance(List.of(stage));
    }

    /// Moves every sequence through stages, chunk by chunk, keeping only what the last one hands
    /// on.
    public void advance(List<Stage> stages) {
        for (int c = 0; c < chunks(); c++) {
            try (TensorArena arena = scratch.scratch()) {
                Activations a = store.load(c, arena);
                for (Stage stage : stages) {
                    a = stage.run(forward(arena), a);
                }
                store.save(c, a);
            }
        }
    }

    /// Moves every sequence through block `index` of the model as its checkpoint has it.
    public void advance(int index) {
        advance(index, (_, _, _) -> {});
    }

    /// The same, showing what the block makes of the sequences.
    @SuppressWarnings("MustBeClosed") // an arena of no bytes on the CPU
    public void advance(int index, Change change) {
        try (TensorReader reader = model.checkpoint().reader();
                TensorArena memory = backend.newArena(model.blockBytes(index))) {
            advance(model.block(index, reader, memory), change);
        }
    }

    /// Moves every sequence through a block that is in memory already.
    public void advance(DecoderBlock block) {
        advance(block, (_, _, _) -> {});
    }

    private void advance(DecoderBlock block, Change change) {
        prepare(block);
        for (int c = 0; c < chunks(); c++) {
            try (TensorArena arena = scratch.scratch()) {
                Tensor before = store.load(c, arena).x();
                Tensor after = block.forward(forward(arena), before);
                change.see(c, before, after);
                store.save(c, Activations.of(after));
            }
        }
    }

    /// Sees the residual stream of a chunk, `[rows, hidden]`, before and after a block; both are
    /// valid during the call.
    @FunctionalInterface
    public interface Change {
        void see(int chunk, Tensor before, Tensor after);
    }

    /// Puts a copy of every sequence aside, for [#rewind]. It lies where the sequences lie: in
    /// memory or in files.
    public void mark() {
        if (marked == null) {
            marked = store("marked");
        }
        for (int c = 0; c < chunks(); c++) {
            try (TensorArena arena = scratch.scratch()) {
                marked.save(c, store.load(c, arena));
            }
        }
    }

    /// Goes back to where the sequences were at the last mark, which is gone then.
    public void rewind() {
        ChunkStore left = store;
        store = marked;
        marked = left;
    }

    /// Shows the residual stream, `[rows, hidden]`, with the index of its chunk; valid during the
    /// call.
    public void forEach(ObjIntConsumer<Tensor> visitor) {
        for (int c = 0; c < chunks(); c++) {
            try (TensorArena arena = scratch.scratch()) {
                visitor.accept(store.load(c, arena).x(), c);
            }
        }
    }

    /// Copies the residual stream of some windows, in the order given.
    ///
    /// @param out F32 `[windows * length, hidden]`
    public void gather(int[] chosen, Tensor out) {
        int length = windows.length();
        for (int from = 0, to; from < chosen.length; from = to) {
            int chunk = chosen[from] / perChunk;
            to = from;
            try (TensorArena arena = scratch.scratch()) {
                Tensor x = store.load(chunk, arena).x();
                for (; to < chosen.length && chosen[to] / perChunk == chunk; to++) {
                    long first = (long) (chosen[to] - firstWindow(chunk)) * length;
                    backend.run(
                            new Op.Scale(
                                    out.rows((long) to * length, (to + 1L) * length),
                                    x.rows(first, first + length),
                                    1));
                }
            }
        }
    }

    /// Everything in one file, from which [#restore] goes on.
    public void saveTo(Path file) {
        store.saveTo(file, chunks());
    }

    /// @return false where the file is not whole; then nothing has changed
    public boolean restore(Path file) {
        List<Long> sizes = new ArrayList<>();
        for (int c = 0; c < chunks(); c++) {
            sizes.add(4L * rows(c) * model.spec().hidden());
        }
        return store.restore(file, sizes, model.spec().hidden());
    }

    private Forward forward(TensorArena arena) {
        return new Forward(backend, arena, positions);
    }

    @Override
    public void close() {
        scratch.close();
        tables.close();
        store.close();
        if (marked != null) {
            marked.close();
        }
    }
}
