// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.Runner;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.DecoderBlock;
import io.llmc.model.KvCache;
import io.llmc.model.Linear;
import io.llmc.model.Positions;
import io.llmc.model.Stage;
import io.llmc.model.Stage.Activations;
import io.llmc.model.Tap;
import io.llmc.model.language.LanguageModel;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Function;
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
    private final String name;
    private final Backend backend;

    /// One for each device; chunk c goes through share `c % shares`.
    private final List<DeviceShare> shares = new ArrayList<>();

    private ChunkStore store;

    /// Null until the first mark.
    private ChunkStore marked;

    /// @param spill a directory for what does not stay in memory; null to keep everything in memory
    @MustBeClosed
    public HiddenStates(LanguageModel model, Windows windows, Path spill) {
        this(model, windows, spill, "hidden");
    }

    /// @param name of files in `spill`, which nobody else has there
    @MustBeClosed
    public HiddenStates(LanguageModel model, Windows windows, Path spill, String name) {
        this(model, windows, spill, name, backend -> backend);
    }

    /// @param runner what passes run with on a device
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public HiddenStates(
            LanguageModel model,
            Windows windows,
            Path spill,
            String name,
            Function<Backend, Runner> runner) {
        this.name = name;
        this.model = model;
        this.windows = windows;
        this.backend = model.backend();
        this.perChunk = windowsPerChunk(windows.length());
        this.spill = spill;
        long scratch = 4L * rows(0) * model.spec().width() * 4 + (1 << 16);
        for (Backend member : backend.group()) {
            if (shares.size() < chunks()) {
                Runner own = runner.apply(member);
                shares.add(new DeviceShare(model, member, own, windows.length(), scratch));
            }
        }
        this.store = store(name);
    }

    /// Sequences that move together.
    public static int windowsPerChunk(int length) {
        return Math.max(1, CHUNK_ROWS / length);
    }

    /// Tokens that move together, at most.
    public static int chunkRows(int length) {
        return windowsPerChunk(length) * length;
    }

    /// On a device with memory of its own sequences stay there, unless they would take more than
    /// half of what is left: blocks and passes need the rest.
    private ChunkStore store(String files) {
        long rows = (long) windows.count() * windows.length();
        long bytes = 4 * rows * (model.spec().width() + StreamMemory.kept(model.spec()));
        List<Backend> members = shares.stream().map(DeviceShare::backend).toList();
        boolean fits = members.stream().allMatch(b -> bytes / members.size() <= b.room() / 2);
        return ChunkStore.in(members, spill, files, fits);
    }

    private DeviceShare share(int chunk) {
        return shares.get(chunk % shares.size());
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

    /// Channels of the residual stream.
    public int hidden() {
        return model.spec().hidden();
    }

    /// Columns of the rows: the residual stream, and what stands beside it.
    public int width() {
        return model.spec().width();
    }

    /// The first device: passes that are shown something see it there.
    public Backend backend() {
        return backend;
    }

    /// Rows that [#forEach] shows at a time, at most.
    public int chunkRows() {
        return rows(0);
    }

    public Positions positions() {
        return shares.getFirst().positions();
    }

    /// Puts every sequence before the first block.
    ///
    /// @throws UserException where an id is none of the model's
    public void embed() {
        requireKnown();
        for (int c = 0; c < chunks(); c++) {
            // The table is on the first device.
            try (TensorArena arena = shares.getFirst().scratch()) {
                Tensor x =
                        model.embed(
                                shares.getFirst().forward(arena),
                                windows.range(firstWindow(c), lastWindow(c)));
                store.save(c, Activations.of(x));
            }
        }
    }

    private void requireKnown() {
        int vocabulary = model.spec().vocabulary();
        windows.firstOutside(vocabulary)
                .ifPresent(at -> {
                    throw new UserException(
                            "token id %d is outside the model's vocabulary of %d"
                                    .formatted(windows.id(at), vocabulary),
                            "tokenizer.json or the ids are those of another model");
                });
    }

    /// Makes room for passes through this block. Stages that are run from now on are this block's.
    public void prepare(DecoderBlock block) {
        shares.forEach(share -> share.prepare(block, rows(0)));
    }

    /// Bytes of the arena that passes run in.
    public long scratchBytes() {
        return shares.getFirst().scratchBytes();
    }

    /// Adds up what an observer makes of the inputs of a stage's layers.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public <S> SumTree<LayerInput, S> observe(Stage stage, Observer<LayerInput, S> observer) {
        SumTree<LayerInput, S> sums = new SumTree<>(observer, backend);
        try {
            for (int c = 0; c < chunks(); c++) {
                show(stage, c, tap(sums, c), _ -> {});
            }
            return sums;
        } catch (RuntimeException | Error e) {
            sums.close();
            throw e;
        }
    }

    /// Shows the inputs of a stage's layers on the first device, with the index of their chunk;
    /// valid during the call.
    public void watch(Stage stage, ObjIntConsumer<LayerInput> visitor) {
        for (int c = 0; c < chunks(); c++) {
            int chunk = c;
            DeviceShare share = share(c);
            Tap seen =
                    new Tap() {
                        @Override
                        public void before(List<Linear> layers, Tensor input) {
                            share.atHome(
                                    input,
                                    x ->
                                            visitor.accept(
                                                    new LayerInput(layers, x, null, null), chunk));
                        }
                    };
            try (TensorArena arena = share.scratch()) {
                Tap tap = share.tap(stage, seen);
                share.stage(stage).run(share.forward(arena).observing(tap), store.load(c, arena));
            }
        }
    }

    /// Adds up what an observer makes of the keys and values of a stage.
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public <S> SumTree<CacheInput, S> observeCache(Stage stage, Observer<CacheInput, S> observer) {
        SumTree<CacheInput, S> sums = new SumTree<>(observer, backend);
        try {
            for (int c = 0; c < chunks(); c++) {
                int chunk = c;
                DeviceShare share = share(c);
                Tap seen =
                        new Tap() {
                            @Override
                            public void before(List<Linear> layers, Tensor input) {
                                // Other observers see these.
                            }

                            @Override
                            public void cached(KvCache cache, Tensor keys, Tensor values) {
                                sums.see(chunk, new CacheInput(keys, values));
                            }
                        };
                try (TensorArena arena = share.scratch()) {
                    Tap tap = share.tap(stage, seen);
                    share.stage(stage).run(share.forward(arena).shownTo(tap), store.load(c, arena));
                }
            }
            return sums;
        } catch (RuntimeException | Error e) {
            sums.close();
            throw e;
        }
    }

    /// Runs a chunk up to a stage's layers.
    ///
    /// @param stream sees the residual stream first
    void show(Stage stage, int chunk, Tap tap, Consumer<Tensor> stream) {
        DeviceShare share = share(chunk);
        try (TensorArena arena = share.scratch()) {
            Activations a = store.load(chunk, arena);
            share.atHome(stream(a.x(), arena, share), stream);
            share.stage(stage).run(share.forward(arena).observing(share.tap(stage, tap)), a);
        }
    }

    private Tensor stream(Tensor row, TensorArena arena, DeviceShare share) {
        if (hidden() == width()) {
            return row;
        }
        Tensor x = arena.allocate(DType.F32, new Shape(row.rows(), hidden()));
        share.backend().run(new ForwardOp.Columns(x, row, 0));
        return x;
    }

    private static Tap tap(SumTree<LayerInput, ?> sums, int chunk) {
        return new Tap() {
            @Override
            public void before(List<Linear> layers, Tensor input) {
                sums.see(chunk, new LayerInput(layers, input, null, null));
            }

            @Override
            public void routed(Linear down, Tensor hidden, Tensor gates) {
                sums.see(chunk, new LayerInput(List.of(down), hidden, gates, null));
            }
        };
    }

    /// Some whole sequences, spread evenly over all, before the block that [#prepare] was told of;
    /// all of them must be before it, and none moves or is shown while the sample does.
    ///
    /// @param tokens of them at most; one sequence is always there
    /// @param tries whether stretches of the sample are asked for
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // the caller closes it
    public Sample sample(DecoderBlock block, int tokens, boolean tries) {
        int[] chosen = Sample.chosen(tokens, windows.count(), windows.length());
        Sample sample =
                new Sample(
                        backend,
                        positions(),
                        block,
                        chosen.length * windows.length(),
                        model.spec().width(),
                        tries,
                        shares.getFirst()::scratch);
        gather(chosen, sample.x());
        return sample;
    }

    /// Moves every sequence through a stage.
    public void advance(Stage stage) {
        advance(List.of(stage));
    }

    /// Moves every sequence through stages, chunk by chunk, keeping only what the last one hands
    /// on.
    public void advance(List<Stage> stages) {
        for (int c = 0; c < chunks(); c++) {
            DeviceShare share = share(c);
            try (TensorArena arena = share.scratch()) {
                Activations a = store.load(c, arena);
                for (Stage stage : share.stages(stages)) {
                    a = stage.run(share.forward(arena), a);
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
        try (TensorReader reader = model.checkpoint().reader(backend.host());
                TensorArena memory = model.newBlockArena(index)) {
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
            int chunk = c;
            DeviceShare share = share(c);
            try (TensorArena arena = share.scratch()) {
                Tensor before = store.load(c, arena).x();
                Activations a = Activations.of(before);
                for (Stage stage : share.stages(block.stages())) {
                    a = stage.run(share.forward(arena), a);
                }
                Tensor after = a.x();
                share.atHome(before, x -> share.atHome(after, y -> change.see(chunk, x, y)));
                store.save(c, a);
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
            marked = store(name + "-marked");
        }
        for (int c = 0; c < chunks(); c++) {
            try (TensorArena arena = share(c).scratch()) {
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
            int chunk = c;
            show(c, x -> visitor.accept(x, chunk));
        }
    }

    /// Shows the residual stream of one chunk; valid during the call.
    public void show(int chunk, Consumer<Tensor> visitor) {
        DeviceShare share = share(chunk);
        try (TensorArena arena = share.scratch()) {
            share.atHome(store.load(chunk, arena).x(), visitor);
        }
    }

    /// Copies the residual stream of some windows, in the order given.
    ///
    /// @param out F32 `[windows * length, hidden]`
    public void gather(int[] chosen, Tensor out) {
        for (int from = 0, to; from < chosen.length; from = to) {
            int chunk = chosen[from] / perChunk;
            to = from;
            while (to < chosen.length && chosen[to] / perChunk == chunk) {
                to++;
            }
            int first = from;
            int end = to;
            show(chunk, x -> gather(chosen, first, end, x, firstWindow(chunk), out));
        }
    }

    private void gather(int[] chosen, int from, int to, Tensor x, int firstWindow, Tensor out) {
        int length = windows.length();
        for (int i = from; i < to; i++) {
            long first = (long) (chosen[i] - firstWindow) * length;
            backend.run(
                    new ForwardOp.Scale(
                            out.rows((long) i * length, (i + 1L) * length),
                            x.rows(first, first + length),
                            1));
        }
    }

    /// Whether sequences stay in a device's own memory.
    public boolean resident() {
        return store.resident();
    }

    /// Everything in one file, from which [#restore] goes on.
    public void saveTo(Path file) {
        store.saveTo(file, chunks());
    }

    /// @return false where the file is not whole; then nothing has changed
    public boolean restore(Path file) {
        List<Shape> shapes = new ArrayList<>();
        for (int c = 0; c < chunks(); c++) {
            shapes.add(new Shape(rows(c), model.spec().width()));
        }
        return store.restore(file, shapes);
    }

    @Override
    public void close() {
        shares.forEach(DeviceShare::close);
        store.close();
        if (marked != null) {
            marked.close();
        }
    }
}
