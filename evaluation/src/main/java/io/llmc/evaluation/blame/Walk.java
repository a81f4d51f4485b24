// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.blame;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.evaluation.ScoredWindows;
import io.llmc.evaluation.blame.Part.Inner;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.language.Head;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/// Some windows on their way through the original, through every variant of it, and through the
/// compressed model: block by block, so that one block of each model is in memory. A variant leaves
/// the original's way at the block that holds its part, and goes on through the original's blocks.
final class Walk implements AutoCloseable {
    /// An arena rounds each tensor up.
    private static final long SLACK = 1 << 16;

    private final Side original;
    private final Side compressed;
    private final List<Part> parts;
    private final ScoredWindows windows;
    private final Backend backend;
    private final int width;
    private final TensorArena states;
    private TensorArena pass;
    private long passBytes;

    /// Where the original's residual stream is now.
    private final Stream base;

    /// The compressed model's, with all parts together.
    private final Stream whole;

    /// One for each part.
    private final List<Stream> variants = new ArrayList<>();

    /// A residual stream, and the model whose head reads it.
    ///
    /// @param x F32 `[rows, hidden]`
    private record Stream(Tensor x, Side head) {}

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Walk(Side original, Side compressed, List<Part> parts, ScoredWindows windows, Backend backend) {
        this.original = original;
        this.compressed = compressed;
        this.parts = parts;
        this.windows = windows;
        this.backend = backend;
        this.width = original.spec().width();
        this.states = backend.newArena(stateBytes(parts, rows(), width));
        this.passBytes = embedBytes(chunkRows(windows.count(), length()), width);
        this.pass = backend.newArena(passBytes);
        this.base = stream(original);
        this.whole = stream(compressed);
        for (Part part : parts) {
            variants.add(
                    switch (part) {
                        case Part.Embedding e -> stream(e.tied() ? compressed : original);
                        case Part.Head _ -> new Stream(base.x, compressed);
                        case Inner _ -> stream(original);
                    });
        }
    }

    private Stream stream(Side head) {
        return new Stream(states.allocate(DType.F32, new Shape(rows(), width)), head);
    }

    /// Bytes of all residual streams.
    static long stateBytes(List<Part> parts, long rows, int hidden) {
        long shared = parts.stream().filter(Part.Head.class::isInstance).count();
        return (parts.size() + 2 - shared) * (4 * rows * hidden + 256);
    }

    /// Bytes of a pass that embeds so many rows.
    static long embedBytes(int rows, int hidden) {
        return 4L * rows * hidden * 4 + SLACK;
    }

    /// Rows that go through a block together: as many as wherever else models are run.
    static int chunkRows(int windows, int length) {
        return Math.min(windows, HiddenStates.windowsPerChunk(length)) * length;
    }

    /// Passes of all windows through a block or a head that the whole way takes.
    static long passes(List<Part> parts, int blocks) {
        long passes = 0;
        for (int i = 0; i < blocks; i++) {
            passes += passes(parts, i, blocks);
        }
        return passes + parts.size() + 2;
    }

    /// Those through block `index`: the original's, the compressed model's, and of every variant
    /// that has begun.
    private static long passes(List<Part> parts, int index, int blocks) {
        return 2 + parts.stream().filter(p -> begins(p, blocks) <= index).count();
    }

    /// The block at which a variant leaves the original's way.
    private static int begins(Part part, int blocks) {
        return switch (part) {
            case Part.Embedding _ -> -1;
            case Inner inner -> inner.index();
            case Part.Head _ -> blocks;
        };
    }

    private int length() {
        return windows.windows().length();
    }

    private long rows() {
        return (long) windows.count() * length();
    }

    /// What is done after a block or the heads.
    @FunctionalInterface
    interface Step {
        void done(long passes, String detail);
    }

    /// Goes all the way.
    ///
    /// @param divergences receives, for each part and behind them for all together, a number a
    ///   scored row
    /// @param at where this batch's begin
    void run(int vocabulary, int pieceRows, float[][] divergences, int at, Step step) {
        embed();
        int blocks = original.spec().layers().size();
        for (int i = 0; i < blocks; i++) {
            block(i);
            step.done(passes(parts, i, blocks), original.spec().layers().get(i).prefix());
        }
        score(vocabulary, pieceRows, divergences, at);
        step.done(parts.size() + 2, "logits");
    }

    private void embed() {
        embed(original, base.x);
        embed(compressed, whole.x);
        requireSameBasis();
        for (int v = 0; v < parts.size(); v++) {
            if (parts.get(v) instanceof Part.Embedding) {
                copy(variants.get(v).x, whole.x);
            }
        }
    }

    private void embed(Side side, Tensor to) {
        int perChunk = HiddenStates.windowsPerChunk(length());
        for (int from = 0; from < windows.count(); from += perChunk) {
            int end = Math.min(windows.count(), from + perChunk);
            try (TensorArena arena = pass.scratch()) {
                Tensor x =
                        side.model().embed(side.forward(arena), windows.windows().range(from, end));
                copy(to.rows((long) from * length(), (long) end * length()), x);
            }
        }
    }

    /// A rotated model computes the same in other coordinates, which no block of another model
    /// knows. Its embedding is as far from the original's as an unrelated one; rounding moves one
    /// by a fraction of its length.
    private void requireSameBasis() {
        try (TensorArena arena = pass.scratch()) {
            Tensor first = base.x.rows(0, length());
            Tensor difference = arena.allocate(DType.F32, first.shape());
            backend.run(new ForwardOp.Add(difference, whole.x.rows(0, length()), first, -1));
            if (backend.squares(difference) > backend.squares(first)) {
                throw new UserException(
                        "%s and %s do not embed tokens alike (one is rotated, or they are not related), so that their blocks do not fit each other"
                                .formatted(compressed.directory(), original.directory()),
                        "measure what was lost as a whole, without {by}");
            }
        }
    }

    @SuppressWarnings("MustBeClosed") // arenas of no bytes on the CPU
    private void block(int index) {
        try (TensorReader theirReader = original.checkpoint().reader(backend.host());
                TensorArena theirArena = original.model().newBlockArena(index);
                TensorReader ourReader = compressed.checkpoint().reader(backend.host());
                TensorArena ourArena = compressed.model().newBlockArena(index)) {
            DecoderBlock theirs = original.model().block(index, theirReader, theirArena);
            DecoderBlock ours = compressed.model().block(index, ourReader, ourArena);
            makeRoom(original, theirs);
            makeRoom(compressed, ours);
            for (int v = 0; v < parts.size(); v++) {
                Tensor x = variants.get(v).x;
                int begins = begins(parts.get(v), original.spec().layers().size());
                if (begins < index) {
                    carry(original, theirs, x, x);
                } else if (begins == index) {
                    begin((Inner) parts.get(v), theirs, ours, x);
                }
            }
            carry(original, theirs, base.x, base.x);
            carry(compressed, ours, whole.x, whole.x);
        }
    }

    private void begin(Inner part, DecoderBlock theirs, DecoderBlock ours, Tensor to) {
        DecoderBlock variant =
                part.in(theirs, ours, original.spec().hidden(), original.directory());
        Side side = variant == ours ? compressed : original;
        makeRoom(side, variant);
        carry(side, variant, base.x, to);
    }

    @SuppressWarnings("MustBeClosed") // closed by close()
    private void makeRoom(Side side, DecoderBlock block) {
        int rows = chunkRows(windows.count(), length());
        long needed = ArenaPlan.of(block, rows, width, side.positions(), backend);
        if (needed > passBytes) {
            pass.close();
            passBytes = needed;
            pass = backend.newArena(needed);
        }
    }

    private void carry(Side side, DecoderBlock block, Tensor from, Tensor to) {
        int chunk = chunkRows(windows.count(), length());
        for (long row = 0; row < rows(); row += chunk) {
            long end = Math.min(rows(), row + chunk);
            try (TensorArena arena = pass.scratch()) {
                copy(to.rows(row, end), block.forward(side.forward(arena), from.rows(row, end)));
            }
        }
    }

    private void copy(Tensor to, Tensor from) {
        backend.run(new ForwardOp.Scale(to, from, 1));
    }

    private void score(int vocabulary, int pieceRows, float[][] divergences, int at) {
        long bytes = logitBytes(original, pieceRows) + logitBytes(compressed, pieceRows);
        try (TensorArena arena = backend.newArena(bytes)) {
            int next = at;
            for (int w = 0; w < windows.count(); w++) {
                int first = w * length() + windows.firstRow()[w];
                int count = windows.endRow()[w] - windows.firstRow()[w];
                int begin = next;
                Head.inPieces(
                        count,
                        pieceRows,
                        arena,
                        (from, to, scratch) ->
                                piece(
                                        first + from,
                                        first + to,
                                        vocabulary,
                                        scratch,
                                        divergences,
                                        begin + from));
                next += count;
            }
        }
    }

    /// Bytes that scores of so many rows take.
    static long logitBytes(Side side, int rows) {
        return Head.bytes(side.checkpoint(), side.spec(), rows) + 4L * rows + 256;
    }

    private void piece(
            int from, int to, int vocabulary, TensorArena arena, float[][] divergences, int at) {
        Tensor theirs = original.logits(base.x.rows(from, to), vocabulary, arena);
        for (int v = 0; v <= variants.size(); v++) {
            Stream stream = v < variants.size() ? variants.get(v) : whole;
            try (TensorArena scratch = arena.scratch()) {
                Tensor ours = stream.head.logits(stream.x.rows(from, to), vocabulary, scratch);
                Tensor divergence = scratch.allocate(DType.F32, new Shape(to - from));
                backend.run(new LossOp.Divergence(divergence, theirs, ours));
                float[] found = backend.floats(divergence);
                System.arraycopy(found, 0, divergences[v], at, found.length);
            }
        }
    }

    @Override
    public void close() {
        pass.close();
        states.close();
    }
}
