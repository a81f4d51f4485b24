// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.pass;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.Positions;
import io.llmc.model.Stage;
import io.llmc.model.Stage.Activations;
import io.llmc.model.Tap;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.IntStream;

/// Some of the calibration sequences on a way of their own through one block: what weights are
/// tried on, before all sequences go through those that were chosen. Like those they move chunk by
/// chunk, but for a sample that weights are tried on.
public final class Sample implements AutoCloseable {
    private final Backend backend;
    private final Positions positions;
    private final List<Stage> stages;

    /// For what two stages hand on, by turns.
    private final List<TensorArena> rooms;

    /// Of their own where weights are tried; else that of all sequences, which stand still.
    private final Supplier<TensorArena> passes;

    /// Null where passes run elsewhere.
    private final TensorArena pass;

    /// The residual stream before the next stage, its chunks with what else that reads, and the
    /// memory that they lie in.
    private Tensor x;

    private List<Activations> chunks;
    private TensorArena room;
    private int advanced;

    /// Sequences before a block that are not yet set to anything.
    ///
    /// @param rows tokens of whole sequences, at least one
    /// @param tries whether stretches are asked for
    /// @param idle room for the passes of a chunk, where they are not
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    Sample(
            Backend backend,
            Positions positions,
            DecoderBlock block,
            int rows,
            int hidden,
            boolean tries,
            Supplier<TensorArena> idle) {
        this.backend = backend;
        this.positions = positions;
        this.stages = block.stages();
        int chunkRows = chunkRows(rows, positions.length(), tries);
        Sizes sizes = Sizes.of(block, rows, hidden, positions.length(), tries);
        rooms = List.of(backend.newArena(sizes.even), backend.newArena(sizes.odd));
        pass = tries ? backend.newArena(sizes.pass) : null;
        passes = tries ? pass::scratch : idle;
        room = rooms.getFirst().scratch();
        x = room.allocate(DType.F32, new Shape(rows, hidden));
        chunks =
                IntStream.iterate(0, r -> r < rows, r -> r + chunkRows)
                        .mapToObj(r -> Activations.of(x.rows(r, Math.min(rows, r + chunkRows))))
                        .toList();
    }

    /// A stretch compares what all of them give.
    private static int chunkRows(int rows, int length, boolean tries) {
        return tries ? rows : Math.min(rows, HiddenStates.chunkRows(length));
    }

    /// Bytes of its arenas.
    ///
    /// @param even what lies before stages 0, 2, ...
    /// @param odd what lies before the others
    private record Sizes(long even, long odd, long pass) {
        private static final long SLACK = 1 << 12;

        static Sizes of(DecoderBlock block, int rows, int hidden, int length, boolean tries) {
            int chunkRows = chunkRows(rows, length, tries);
            int chunks = Math.ceilDiv(rows, chunkRows);
            ArenaPlan.Pass pass = ArenaPlan.pass(block, chunkRows, hidden, length);
            long stream = 4L * rows * hidden + SLACK;
            long[] most = new long[2];
            for (int i = 0; i < pass.kept().size(); i++) {
                int room = (i + 1) % 2;
                most[room] = Math.max(most[room], chunks * (pass.kept().get(i) + SLACK));
            }
            // A stretch runs several stages at once, and keeps what it gives and by how much that
            // changes.
            long through = tries ? pass.bytes() + 2 * stream : 0;
            return new Sizes(stream + most[0], stream + most[1], through);
        }
    }

    /// Bytes of the device that a sample takes.
    ///
    /// @param block of which only sizes need be known
    /// @param tokens that are wanted
    /// @param sequences that there are
    /// @param length tokens of each
    /// @param tries whether stretches are asked for
    public static long bytes(
            DecoderBlock block, int hidden, int tokens, int sequences, int length, boolean tries) {
        int rows = count(tokens, sequences, length) * length;
        Sizes sizes = Sizes.of(block, rows, hidden, length, tries);
        return sizes.even + sizes.odd + sizes.pass;
    }

    /// Whole sequences of at most so many tokens, but one at least.
    static int count(int tokens, int sequences, int length) {
        return Math.clamp(tokens / length, 1, sequences);
    }

    /// Which sequences a sample has: they are spread evenly.
    ///
    /// @param tokens that are wanted
    /// @param sequences that there are
    /// @param length tokens of each
    public static int[] chosen(int tokens, int sequences, int length) {
        int count = count(tokens, sequences, length);
        return IntStream.range(0, count).map(i -> (int) ((long) i * sequences / count)).toArray();
    }

    /// The residual stream before the next stage, `[tokens, hidden]`.
    Tensor x() {
        return x;
    }

    /// How often a stage shows its layers' inputs.
    public int chunks() {
        return chunks.size();
    }

    /// Shows the inputs of the layers of the next stage.
    public void observe(Stage stage, Tap tap) {
        requireNext(stage);
        for (Activations chunk : chunks) {
            try (TensorArena arena = passes.get()) {
                stage.run(new Forward(backend, arena, positions).observing(tap), chunk);
            }
        }
    }

    /// Moves on through the next stage with the weights that it has now.
    public void advance(Stage stage) {
        advance(stage, Tap.NONE);
    }

    /// The same, and shows the inputs of its layers on the way.
    @SuppressWarnings("MustBeClosed") // the next stage but one closes it
    public void advance(Stage stage, Tap tap) {
        requireNext(stage);
        TensorArena other = rooms.get((advanced + 1) % 2).scratch();
        Tensor next = other.allocate(DType.F32, x.shape());
        List<Activations> moved = new ArrayList<>();
        long row = 0;
        for (Activations chunk : chunks) {
            Tensor rows = next.rows(row, row + chunk.x().rows());
            try (TensorArena arena = passes.get()) {
                var through = new Forward(backend, backend, arena, positions, tap, false);
                Activations made = stage.run(through, chunk);
                backend.run(new ForwardOp.Scale(rows, made.x(), 1));
                moved.add(
                        new Activations(
                                rows, made.kept().stream().map(t -> copy(t, other)).toList()));
            }
            row += rows.rows();
        }
        room.close();
        room = other;
        x = next;
        chunks = moved;
        advanced++;
    }

    private Tensor copy(Tensor t, TensorArena arena) {
        Tensor copy = arena.allocate(t.dtype(), t.shape());
        backend.run(new ForwardOp.Scale(copy, t, 1));
        return copy;
    }

    /// What stages give with the weights that they have now, to compare with what they would give.
    /// Only of a sample that was asked for with them.
    ///
    /// @param from the next stage
    /// @param to the last one of the stretch, which ends a branch
    @MustBeClosed
    public Stretch stretch(Stage from, Stage to) {
        requireNext(from);
        return new Stretch(stages.subList(advanced, stages.indexOf(to) + 1));
    }

    private void requireNext(Stage stage) {
        if (!stages.get(advanced).equals(stage)) {
            throw new IllegalStateException("a sample goes through a block's stages in order");
        }
    }

    /// Stages with what they give. Until it is closed the sample stays where it is.
    public final class Stretch implements AutoCloseable {
        private final List<Stage> stretch;
        private final TensorArena arena;
        private final Tensor given;
        private final Tensor change;

        @MustBeClosed
        @SuppressWarnings("MustBeClosed") // closed by close()
        private Stretch(List<Stage> stretch) {
            this.stretch = stretch;
            arena = pass.scratch();
            given = arena.allocate(DType.F32, x.shape());
            change = arena.allocate(DType.F32, x.shape());
            run(stretch, given);
        }

        private void run(List<Stage> through, Tensor out) {
            try (TensorArena scratch = arena.scratch()) {
                Activations a = chunks.getFirst();
                for (Stage stage : through) {
                    a = stage.run(new Forward(backend, scratch, positions), a);
                }
                backend.run(new ForwardOp.Scale(out, a.x(), 1));
            }
        }

        /// By how much what the stretch gives would change if the block were another one: the loss
        /// of AWQ, https://arxiv.org/abs/2306.00978, as a sum of squares.
        ///
        /// @param trial a block of the same kind
        public double error(DecoderBlock trial) {
            run(trial.stages().subList(advanced, advanced + stretch.size()), change);
            backend.run(new ForwardOp.Add(change, change, given, -1));
            return backend.squares(change);
        }

        @Override
        public void close() {
            arena.close();
        }
    }

    @Override
    public void close() {
        rooms.forEach(TensorArena::close);
        if (pass != null) {
            pass.close();
        }
    }
}
