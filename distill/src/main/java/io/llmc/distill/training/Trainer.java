// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.backend.Backend;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.TensorArena;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.student.TrainedModel;
import io.llmc.distill.teacher.TeacherCache;
import io.llmc.model.DecoderBlock;
import io.llmc.model.Forward;
import io.llmc.model.Tap;
import io.llmc.model.Tape;
import io.llmc.model.language.ResidentModel;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.util.ArrayList;
import java.util.List;

/// Forward and backward passes of a student beside its teacher.
public final class Trainer implements AutoCloseable {
    private final Backend backend;
    private final TrainedModel student;
    private final ResidentModel teacher;
    private final TeacherCache cache;
    private final InsideLoss inside;
    private final PredictionLoss predictions;
    private final int vocabulary;
    private final boolean checkpoints;
    private final TensorArena arena;

    /// @param teacher null where no loss asks it
    /// @param cache what a teacher has said before; null for none
    /// @param inside null where no loss compares blocks
    /// @param memory of a step
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public Trainer(
            TrainedModel student,
            ResidentModel teacher,
            TeacherCache cache,
            InsideLoss inside,
            DistillSpec spec,
            StepMemory memory) {
        this.student = student;
        this.teacher = teacher;
        this.cache = cache;
        this.inside = inside;
        this.backend = student.model().backend();
        int own = student.model().spec().vocabulary();
        int asked =
                teacher != null
                        ? teacher.model().spec().vocabulary()
                        : cache != null ? cache.header().vocabulary() : own;
        // What one of them has more is padding: it was looked at before.
        this.vocabulary = Math.min(own, asked);
        this.predictions = new PredictionLoss(student, teacher, spec, vocabulary);
        this.checkpoints = memory.checkpoints();
        this.arena = backend.newArena(memory.arena());
    }

    private PredictionLoss.Asked ask(
            Windows windows, int[] chosen, TensorArena step, InsideLoss.Targets targets) {
        ResidentModel.Listener listener = targets == null ? ResidentModel.Listener.NONE : targets;
        return new PredictionLoss.Asked(
                teacher == null ? null : teacher.normed(windows.ids(), step, listener),
                cache == null ? null : cache.top(chosen, vocabulary, backend, step));
    }

    /// Losses of some windows; the gradient of their weighted mean, times `scale`, is added to
    /// those of the student's parameters.
    ///
    /// @param chosen their numbers in the text
    public Losses learn(Windows windows, int[] chosen, float scale) {
        try (TensorArena step = arena.scratch();
                InsideLoss.Targets targets = inside == null ? null : inside.targets()) {
            PredictionLoss.Asked teachers = ask(windows, chosen, step, targets);
            List<Segment> segments = new ArrayList<>();
            Tape first = new Tape(backend, step, List.of());
            student.watch(first);
            Tensor x = student.model().embed(forward(first), windows.ids());
            segments.add(new Segment(first, x));
            for (int i = 0; i < student.blocks().size(); i++) {
                x = block(i, x, step, segments);
            }
            Tensor dx = zeros(step, x.shape());
            Tape last = new Tape(backend, step, List.of());
            student.watch(last);
            last.source(x, dx);
            int read = student.model().spec().input().width();
            Tensor normed = last.kept().allocate(DType.F32, new Shape(x.rows(), read));
            student.model().finalNorm(forward(last), normed, x);
            Tensor dnormed = last.gradient(normed);
            Losses losses = predictions.of(windows, normed, dnormed, teachers, scale, step);
            last.backward();
            double[] sums = new double[2];
            backward(segments, dx, step, targets, scale, sums);
            return losses.with(sums[0], sums[1]);
        }
    }

    /// A stretch of the forward pass.
    ///
    /// @param index of the block; -1 for the embedding
    /// @param tape null where the stretch is run again on the way back
    /// @param in of a block
    /// @param out what it gave
    private record Segment(int index, Tape tape, Tensor in, Tensor din, Tensor out, Heard heard) {
        Segment(Tape tape, Tensor out) {
            this(-1, tape, null, null, out, null);
        }
    }

    /// The attention of one block.
    private static final class Heard implements ResidentModel.Listener {
        private ForwardOp.Attention attention;

        @Override
        public void attention(int block, ForwardOp.Attention op) {
            attention = op;
        }

        @Override
        public void output(int block, Tensor x) {}
    }

    private Tensor block(int index, Tensor x, TensorArena step, List<Segment> segments) {
        DecoderBlock block = student.blocks().get(index);
        Tensor din = zeros(step, x.shape());
        Heard heard = new Heard();
        if (!checkpoints) {
            Tape tape = tape(step, x, din);
            Tensor y = block.forward(forward(tape, heard, index), x);
            segments.add(new Segment(index, tape, x, din, y, heard));
            return y;
        }
        Tensor y = step.allocate(DType.F32, x.shape());
        try (TensorArena scratch = step.scratch()) {
            Tensor out = block.forward(new Forward(backend, scratch, student.positions()), x);
            backend.run(new ForwardOp.Scale(y, out, 1));
        }
        segments.add(new Segment(index, null, x, din, y, heard));
        return y;
    }

    private Tape tape(TensorArena memory, Tensor x, Tensor dx) {
        Tape tape = new Tape(backend, memory, List.of());
        student.watch(tape);
        tape.source(x, dx);
        return tape;
    }

    /// @param dout gradient of the last stretch's result
    /// @param sums get the losses inside: hidden, attention
    private void backward(
            List<Segment> segments,
            Tensor dout,
            TensorArena step,
            InsideLoss.Targets targets,
            float scale,
            double[] sums) {
        Tensor d = dout;
        for (Segment s : segments.reversed()) {
            boolean listens = inside != null && s.index >= 0;
            if (listens) {
                sums[0] += inside.hidden(s.index, s.out, d, targets, scale);
            }
            try (TensorArena scratch = step.scratch()) {
                Tape tape = s.tape;
                Tensor out = s.out;
                if (tape == null) {
                    tape = tape(scratch, s.in, s.din);
                    out =
                            student.blocks()
                                    .get(s.index)
                                    .forward(forward(tape, s.heard, s.index), s.in);
                }
                tape.gradientsIn(scratch);
                if (listens) {
                    ForwardOp.Attention heard = s.heard.attention;
                    sums[1] += inside.attention(s.index, heard, tape, targets, scale);
                }
                tape.source(out, d);
                tape.backward();
            }
            d = s.din;
        }
    }

    private Forward forward(Tape tape, Heard heard, int block) {
        return new Forward(
                backend,
                ResidentModel.heard(tape, heard, block),
                tape.kept(),
                student.positions(),
                Tap.NONE,
                false);
    }

    private Forward forward(Tape tape) {
        return new Forward(backend, tape, tape.kept(), student.positions(), Tap.NONE, false);
    }

    private Tensor zeros(TensorArena memory, Shape shape) {
        Tensor t = memory.allocate(DType.F32, shape);
        backend.run(new ForwardOp.Zero(t));
        return t;
    }

    /// Losses of windows that nobody learns from.
    public Losses measure(Windows windows, int[] chosen) {
        try (TensorArena step = arena.scratch();
                InsideLoss.Targets targets = inside == null ? null : inside.targets()) {
            PredictionLoss.Asked teachers = ask(windows, chosen, step, targets);
            double[] sums = new double[2];
            Tensor normed =
                    student.resident()
                            .normed(
                                    windows.ids(),
                                    step,
                                    inside == null
                                            ? ResidentModel.Listener.NONE
                                            : measuring(targets, sums));
            return predictions.of(windows, normed, null, teachers, 1, step).with(sums[0], sums[1]);
        }
    }

    private ResidentModel.Listener measuring(InsideLoss.Targets targets, double[] sums) {
        return new ResidentModel.Listener() {
            @Override
            public void attention(int block, ForwardOp.Attention op) {
                sums[1] += inside.attention(block, op, null, targets, 1);
            }

            @Override
            public void output(int block, Tensor x) {
                sums[0] += inside.hidden(block, x, null, targets, 1);
            }
        };
    }

    @Override
    public void close() {
        arena.close();
    }
}
