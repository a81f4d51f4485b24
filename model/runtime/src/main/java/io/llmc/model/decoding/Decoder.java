// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Holding;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.ModelSpec;
import io.llmc.model.Positions;
import io.llmc.model.Tap;
import io.llmc.model.language.Head;
import io.llmc.model.language.Outline;
import io.llmc.model.language.ResidentModel;
import io.llmc.model.structure.RopeSpec;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;

/// A resident model with a cache: sequences go on where they stopped, several in one pass. What a
/// pass gives for a token are the logits of whole sequences, but for the rounding of sums.
///
/// Not for use by several threads.
public final class Decoder implements AutoCloseable {
    private static final long SLACK = 1 << 14;

    /// Rows that kernels of few rows decode, on all threads, about.
    private static final long DECODED_ROWS = 1 << 20;

    /// Lengths of windows that a model has, at most.
    private static final int KINDS = 6;

    private final ResidentModel model;
    private final CacheSettings settings;
    private final PagePool pool;
    private final List<RopeSpec> ropes;
    private final TensorArena memory;

    /// Tokens that a sequence goes on with.
    ///
    /// @param scored logits come back for its last ones
    public record Chunk(Sequence sequence, int[] ids, int scored) {
        public Chunk {
            if (ids.length == 0 || scored < 0 || scored > ids.length) {
                throw new IllegalArgumentException(
                        "%d of %d tokens scored".formatted(scored, ids.length));
            }
        }

        /// Position of its first token.
        int first() {
            return sequence.length();
        }

        int end() {
            return Math.addExact(sequence.length(), ids.length);
        }
    }

    /// Reads the model's weights and allocates the cache; the caller keeps checkpoint and backend.
    ///
    /// @throws UserException where memory is too little
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by the decoder, or here
    public static Decoder open(
            Checkpoint checkpoint, ModelSpec spec, Backend backend, CacheSettings settings) {
        ResidentModel model = new ResidentModel(checkpoint, spec, backend, 1, Holding.COPIED);
        PagePool pool = null;
        try {
            pool = new PagePool(spec, settings, backend);
            return new Decoder(model, settings, pool);
        } catch (RuntimeException e) {
            if (pool != null) {
                pool.close();
            }
            model.close();
            throw e;
        }
    }

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    private Decoder(ResidentModel model, CacheSettings settings, PagePool pool) {
        this.model = model;
        this.settings = settings;
        this.pool = pool;
        this.ropes = spec().ropes();
        this.memory =
                backend()
                        .newArena(
                                passBytes(model.model().checkpoint(), spec(), settings, backend()));
    }

    /// Bytes that cache and passes take outside the Java heap, the weights apart.
    public static long bytes(
            Checkpoint c, ModelSpec spec, CacheSettings settings, Backend backend) {
        return PagePool.bytes(spec, settings)
                + passBytes(c, spec, settings, backend)
                + kernelBytes(spec, settings.rows(), backend);
    }

    /// What products work in beside their operands.
    private static long kernelBytes(ModelSpec spec, int rows, Backend backend) {
        return Stream.concat(
                                spec.layers().stream()
                                        .flatMap(l -> l.linears(spec.hidden()).stream()),
                                Stream.of(spec.headLayer()))
                        .mapToLong(l -> backend.kernelBytes(rows, l.out(), l.in()))
                        .max()
                        .orElse(0)
                + DECODED_ROWS;
    }

    /// What a pass allocates: the stream, tables, and its largest block or a piece of logits.
    @SuppressWarnings("MustBeClosed") // the pool closes its arena
    private static long passBytes(
            Checkpoint c, ModelSpec spec, CacheSettings settings, Backend backend) {
        int rows = settings.rows();
        long block = 0;
        try (TensorArena tables = ArenaPlan.tables(backend);
                PagePool pool =
                        new PagePool(
                                spec,
                                settings,
                                backend,
                                ArenaPlan.tables(backend),
                                new StatePool(
                                        spec, settings, backend, ArenaPlan.tables(backend)))) {
            Positions positions = ArenaPlan.positions(spec, rows, backend, tables);
            PagedPast past = PagedPast.largest(pool, rows, tables);
            for (DecoderBlock b : Outline.blocks(c, spec)) {
                long own = ArenaPlan.of(b, rows, spec.width(), positions, past, backend);
                block = Math.max(block, own);
            }
        }
        long stream = 4L * rows * spec.width();
        long pages = settings.pages(0) + settings.sequences();
        long tables = KINDS * (4 * pages + 256L * settings.sequences());
        long head = Head.bytes(c, spec, Head.MIN_ROWS);
        // Scored rows, as they are and normed, and which they are.
        long scored = 2 * stream + 4L * rows + Head.gathering(spec, rows);
        return stream
                + Positions.bytes(spec, rows)
                + tables
                + scored
                + Math.max(block + 2 * stream, head)
                + SLACK;
    }

    public ModelSpec spec() {
        return model.model().spec();
    }

    public CacheSettings settings() {
        return settings;
    }

    public Backend backend() {
        return model.model().backend();
    }

    /// An empty sequence; closing it gives its pages back.
    @MustBeClosed
    public Sequence sequence() {
        return pool.sequence();
    }

    /// Lets sequences go on by some tokens each, all in one pass.
    ///
    /// @param chunks of different sequences, no more tokens together than the settings' rows
    /// @return logits `[vocabulary]` of the scored tokens, in the order of the chunks
    /// @throws UserException where the cache is full, a sequence becomes longer than the model's
    ///   positions, or a token is none of the vocabulary
    public float[][] step(List<Chunk> chunks) {
        int rows = chunks.stream().mapToInt(c -> c.ids().length).sum();
        if (rows > settings.rows()) {
            throw new IllegalArgumentException(
                    "%d tokens in a pass of %d".formatted(rows, settings.rows()));
        }
        chunks.forEach(this::check);
        pool.grow(chunks);
        float[][] logits;
        try (TensorArena arena = memory.scratch()) {
            Tensor x = stream(chunks, rows, arena);
            logits = logits(scored(chunks, rows, x, arena), arena);
        }
        for (Chunk c : chunks) {
            c.sequence().advanced(c.ids().length);
            for (int k = 0; k < pool.kinds().size(); k++) {
                c.sequence().table(k).release(c.sequence().length() - settings.undone());
            }
        }
        return logits;
    }

    private void check(Chunk c) {
        if (c.end() > spec().maxPositions() && !spec().stretches()) {
            throw new UserException(
                    "a sequence of %,d tokens is longer than the %,d positions of %s"
                            .formatted(
                                    c.end(),
                                    spec().maxPositions(),
                                    model.model().checkpoint().directory()),
                    "");
        }
        for (int id : c.ids()) {
            if (id < 0 || id >= spec().vocabulary()) {
                throw new UserException(
                        "token id %d is outside of the vocabulary of %s: 0 to %,d"
                                .formatted(
                                        id,
                                        model.model().checkpoint().directory(),
                                        spec().vocabulary() - 1),
                        "");
            }
        }
    }

    private Tensor stream(List<Chunk> chunks, int rows, TensorArena arena) {
        List<Positions.Run> runs =
                chunks.stream().map(c -> new Positions.Run(c.first(), c.ids().length)).toList();
        Positions positions = Positions.of(ropes, runs, backend(), arena);
        PagedPast past = PagedPast.of(pool, chunks, arena);
        Forward pass = new Forward(backend(), backend(), arena, positions, Tap.NONE, false, past);
        try (Arena host = Arena.ofConfined()) {
            MemorySegment ids = host.allocate(4L * rows, 4);
            int at = 0;
            for (Chunk c : chunks) {
                for (int id : c.ids()) {
                    ids.setAtIndex(ValueLayout.JAVA_INT, at++, id);
                }
            }
            return model.stream(ids, pass, ResidentModel.Listener.NONE);
        }
    }

    /// The rows of the stream that are scored, or null for none.
    private Tensor scored(List<Chunk> chunks, int rows, Tensor x, TensorArena arena) {
        int count = chunks.stream().mapToInt(Chunk::scored).sum();
        if (count == rows || count == 0) {
            return count == 0 ? null : x;
        }
        Tensor some = arena.allocate(DType.F32, new Shape(count, x.cols()));
        Tensor index = arena.allocate(DType.I32, new Shape(count));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment numbers = host.allocate(4L * count, 4);
            int at = 0;
            int end = 0;
            for (Chunk c : chunks) {
                end += c.ids().length;
                for (int r = end - c.scored(); r < end; r++) {
                    numbers.setAtIndex(ValueLayout.JAVA_INT, at++, r);
                }
            }
            backend().upload(index, numbers);
        }
        backend().run(new ForwardOp.GatherRows(some, x, index));
        return some;
    }

    private float[][] logits(Tensor x, TensorArena arena) {
        if (x == null) {
            return new float[0][];
        }
        Head head = new Head(model.model());
        int rows = Math.toIntExact(x.rows());
        int vocabulary = spec().vocabulary();
        float[][] all = new float[rows][];
        Tensor normed = head.norm(x, arena);
        Head.inPieces(
                rows,
                Head.MIN_ROWS,
                arena,
                (from, to, scratch) -> {
                    Tensor logits = head.logits(normed.rows(from, to), vocabulary, scratch);
                    float[] values = backend().floats(logits);
                    for (int r = from; r < to; r++) {
                        int at = (r - from) * vocabulary;
                        all[r] =
                                to - from == 1
                                        ? values
                                        : Arrays.copyOfRange(values, at, at + vocabulary);
                    }
                });
        return all;
    }

    @Override
    public void close() {
        memory.close();
        pool.close();
        model.close();
    }
}
