// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.LayerMap;
import io.llmc.distill.student.TrainedModel;
import io.llmc.formats.UserException;
import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Tape;
import io.llmc.model.language.ResidentModel;
import io.llmc.model.structure.Size;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/// Losses between the blocks of a student and those of its teacher that they stand for: of their
/// outputs (FitNets, https://arxiv.org/abs/1412.6550) and of their attention (MiniLM,
/// https://arxiv.org/abs/2002.10957). Each is the mean over blocks and tokens, attention over heads
/// too; squared errors are relative to the mean square of the teacher's.
public final class InsideLoss implements AutoCloseable {
    private final TrainedModel student;
    private final DistillSpec.Inside spec;
    private final LayerMap map;
    private final Backend backend;
    private final int width;

    /// Projections, if any, with what the optimizer needs of them.
    private final TensorArena memory;

    /// What the teacher gave for a batch, and one block's losses.
    private final TensorArena arena;

    /// From the student's width to the teacher's, by the student's block; empty where they are
    /// equal.
    private final Map<Integer, Tensor> projections = new HashMap<>();

    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public InsideLoss(
            TrainedModel student, ResidentModel teacher, LayerMap map, DistillSpec distill) {
        this.student = student;
        this.spec = distill.inside();
        this.map = map;
        this.backend = student.model().backend();
        this.width = teacher.model().spec().width();
        if (spec.attention() != 0) {
            requireEqualHeads(teacher);
        }
        int own = student.model().spec().width();
        int blocks = student.blocks().size();
        ModelSpec mine = student.model().spec();
        ModelSpec theirs = teacher.model().spec();
        boolean projects = spec.hidden() != 0 && own != width;
        this.memory = backend.newArena(learntBytes(mine, theirs, distill));
        int rows = distill.batch() * distill.length();
        this.arena = backend.newArena(workBytes(mine, theirs, map, distill, rows));
        for (int i = 0; projects && i < blocks; i++) {
            String name = "projection." + i;
            projections.put(i, student.learnBeside(name, width, own, distill.seed() + i, memory));
        }
    }

    private void requireEqualHeads(ResidentModel teacher) {
        for (int i = 0; i < student.blocks().size(); i++) {
            LayerSpec mine = student.blocks().get(i).spec();
            LayerSpec theirs = teacher.model().spec().layers().get(map.counterparts().get(i));
            if (heads(mine) != heads(theirs) || mine.window() != theirs.window()) {
                throw new UserException(
                        "block %d of the student has %d heads (window %d), its counterpart %d (window %d)"
                                .formatted(
                                        i,
                                        heads(mine),
                                        mine.window(),
                                        heads(theirs),
                                        theirs.window()),
                        "attention can only be compared head by head: leave {attention} out");
            }
        }
    }

    private static int heads(LayerSpec layer) {
        return layer.count(Size.HEADS);
    }

    /// What the teacher's blocks gave for a batch, by the student's block.
    final class Targets implements ResidentModel.Listener, AutoCloseable {
        @SuppressWarnings("MustBeClosed") // closed by close()
        private final TensorArena kept = arena.scratch();

        private final Map<Integer, Tensor> outputs = new HashMap<>();
        private final Map<Integer, LossOp.Scores> scores = new HashMap<>();

        @Override
        public void attention(int block, ForwardOp.Attention op) {
            int mine = map.counterparts().indexOf(block);
            if (spec.attention() != 0 && mine >= 0) {
                scores.put(
                        mine,
                        new LossOp.Scores(copy(op.q()), copy(op.k()), op.slopes(), op.spec()));
            }
        }

        @Override
        public void output(int block, Tensor x) {
            for (int i = 0; spec.hidden() != 0 && i < map.counterparts().size(); i++) {
                if (map.target(i) == block) {
                    outputs.put(i, copy(x));
                }
            }
        }

        private Tensor copy(Tensor t) {
            Tensor copy = kept.allocate(DType.F32, t.shape());
            backend.run(new ForwardOp.Scale(copy, t, 1));
            return copy;
        }

        @Override
        public void close() {
            kept.close();
        }
    }

    /// Hears the teacher out.
    @MustBeClosed
    Targets targets() {
        return new Targets();
    }

    /// Bytes of projections, their gradients and states.
    static long learntBytes(ModelSpec own, ModelSpec teacher, DistillSpec distill) {
        boolean projects = distill.inside().hidden() != 0 && own.width() != teacher.width();
        long one = 16L * own.width() * teacher.width() + 4096;
        return 4096 + (projects ? own.layers().size() * one : 0);
    }

    /// Bytes of what the teacher gave for a batch of `rows` tokens, and of one block's losses.
    static long workBytes(
            ModelSpec own, ModelSpec teacher, LayerMap map, DistillSpec distill, int rows) {
        DistillSpec.Inside spec = distill.inside();
        long hidden = 4L * rows * Math.max(teacher.width(), own.width()) + 256;
        long outputs = spec.hidden() == 0 ? 0 : own.layers().size() * hidden;
        long scores =
                spec.attention() == 0
                        ? 0
                        : map.counterparts().stream()
                                .flatMap(b -> teacher.layers().get(b).bodies())
                                .mapToLong(BodySpec::scored)
                                .filter(channels -> channels > 0)
                                .map(channels -> 4L * rows * channels + 512)
                                .sum();
        int heads = heads(own.layers().getFirst());
        return outputs + scores + 4 * hidden + 16L * rows * heads + (1 << 14);
    }

    /// The loss of a block's output. Its gradient, times weight and `scale`, is added to `dx`.
    ///
    /// @param dx null where nobody learns
    double hidden(int block, Tensor x, Tensor dx, Targets targets, float scale) {
        if (spec.hidden() == 0) {
            return 0;
        }
        try (TensorArena scratch = targets.kept.scratch()) {
            Tensor target = targets.outputs.get(block);
            double size =
                    switch (spec.distance()) {
                        case MSE -> backend.squares(target) / target.shape().size();
                        case COSINE -> 1;
                    };
            if (size == 0) {
                size = 1; // a target of zeros has no size to relate an error to
            }
            double factor = scale * spec.hidden() / (size * x.rows() * map.counterparts().size());
            Tensor losses = scratch.allocate(DType.F64, new Shape(x.rows()));
            if (projections.isEmpty()) {
                distance(dx, losses, x, target, factor);
            } else {
                projected(block, x, dx, losses, target, factor, scratch);
            }
            double mean = backend.sum(losses) / x.rows();
            return mean / size / map.counterparts().size();
        }
    }

    private void projected(
            int block,
            Tensor x,
            Tensor dx,
            Tensor losses,
            Tensor target,
            double factor,
            TensorArena scratch) {
        Tape tape = new Tape(backend, scratch, List.of());
        if (dx != null) {
            student.watch(tape);
            tape.source(x, dx);
        }
        Tensor wide = scratch.allocate(DType.F32, target.shape());
        tape.run(new ForwardOp.Matmul(wide, x, new Weight.Dense(projections.get(block))));
        distance(dx == null ? null : tape.gradient(wide), losses, wide, target, factor);
        if (dx != null) {
            tape.backward();
        }
    }

    private void distance(Tensor dx, Tensor losses, Tensor x, Tensor target, double factor) {
        backend.run(
                new LossOp.AccumulateHiddenLoss(
                        dx, losses, x, target, spec.distance(), (float) factor));
    }

    /// The loss of a block's attention, as [#hidden].
    ///
    /// @param tape has run the attention and holds its gradients; null where nobody learns
    double attention(int block, ForwardOp.Attention op, Tape tape, Targets targets, float scale) {
        if (spec.attention() == 0) {
            return 0;
        }
        Tensor dq = tape == null ? null : tape.gradient(op.q());
        Tensor dk = tape == null ? null : tape.gradient(op.k());
        try (TensorArena scratch = targets.kept.scratch()) {
            long rows = op.q().rows();
            int heads = op.spec().heads().count();
            Tensor losses = scratch.allocate(DType.F64, new Shape(rows, heads));
            double count = (double) rows * heads * map.counterparts().size();
            backend.run(
                    new LossOp.AccumulateAttentionLoss(
                            dq,
                            dk,
                            losses,
                            new LossOp.Scores(op.q(), op.k(), op.slopes(), op.spec()),
                            targets.scores.get(block),
                            (float) (scale * spec.attention() / count)));
            return backend.sum(losses) / count;
        }
    }

    @Override
    public void close() {
        arena.close();
        memory.close();
    }
}
