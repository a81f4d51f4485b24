// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import io.llmc.backend.Backend;
import io.llmc.backend.LossOp;
import io.llmc.backend.TensorArena;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.student.TrainedModel;
import io.llmc.distill.teacher.TeacherCache;
import io.llmc.model.Forward;
import io.llmc.model.Tap;
import io.llmc.model.Tape;
import io.llmc.model.language.Head;
import io.llmc.model.language.ResidentModel;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import io.llmc.tokenizer.Windows;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/// Losses of a student's predictions, against a teacher's or the text. Logits exist for a few rows
/// at a time only: the head, the loss and their gradients are one loop.
final class PredictionLoss {
    /// Bytes of a student's logits that exist at once, about.
    private static final long LOGITS = 24L << 20;

    private final TrainedModel student;
    private final ResidentModel teacher;
    private final DistillSpec spec;
    private final Backend backend;
    private final LossOp.LossWeights weights;

    /// Ids that the predictions are over: the first of the student's.
    private final int vocabulary;

    /// @param teacher null where none is asked now
    /// @param vocabulary ids that student and teacher share, the first of both
    PredictionLoss(TrainedModel student, ResidentModel teacher, DistillSpec spec, int vocabulary) {
        this.vocabulary = vocabulary;
        this.student = student;
        this.teacher = teacher;
        this.spec = spec;
        this.backend = student.model().backend();
        // The operation sees all rows, and the last of a window has no token to predict.
        float counted = spec.length() / (float) Math.max(1, spec.length() - 1);
        LossOp.LossWeights w = spec.loss();
        this.weights =
                new LossOp.LossWeights(
                        w.kl(), w.reverse(), w.jsd(), w.ce() * counted, w.temperature(), w.beta());
    }

    /// What is known of the teacher's predictions for some windows.
    ///
    /// @param normed what its head reads; null where it is not asked now
    /// @param top null where there is no cache
    record Asked(Tensor normed, TeacherCache.Top top) {}

    /// What the losses of some windows are made of.
    ///
    /// @param dnormed null where nobody learns
    /// @param scale of gradients
    private record Batch(
            Windows windows, Tensor normed, Tensor dnormed, Asked teachers, float scale) {}

    /// Rows whose logits exist at once.
    static int pieceRows(long vocabulary) {
        return Head.rows(LOGITS, vocabulary, 512);
    }

    /// @param normed what the student's head reads
    /// @param dnormed accumulates its gradient; null where nobody learns
    /// @param step holds a piece at a time
    Losses of(
            Windows windows,
            Tensor normed,
            Tensor dnormed,
            Asked teachers,
            float scale,
            TensorArena step) {
        int rows = Math.toIntExact(normed.rows());
        if (!spec.loss().asksTeacher() && spec.loss().ce() == 0) {
            return new Losses(0, 0, 0, 0, 0, 0, rows);
        }
        Batch batch = new Batch(windows, normed, dnormed, teachers, scale / rows);
        double[] sums = new double[4];
        Head.inPieces(
                rows,
                pieceRows(vocabulary),
                step,
                (from, to, scratch) -> piece(batch, from, to, scratch, sums));
        long next = (long) rows - windows.count();
        return new Losses(
                sums[0] / rows,
                sums[1] / rows,
                sums[2] / rows,
                sums[3] / Math.max(1, next),
                0,
                0,
                rows);
    }

    private void piece(Batch batch, int from, int to, TensorArena scratch, double[] sums) {
        Asked teachers = batch.teachers;
        int n = to - from;
        Tape tape = new Tape(backend, scratch, List.of());
        if (batch.dnormed != null) {
            student.watch(tape);
            tape.source(batch.normed, batch.dnormed);
        }
        Forward f = new Forward(backend, tape, tape.kept(), student.positions(), Tap.NONE, false);
        Tensor logits =
                new Head(student.model()).logits(f, batch.normed.rows(from, to), vocabulary);
        Tensor dlogits = tape.gradient(logits);
        Tensor losses = scratch.allocate(DType.F64, new Shape(n, 4));
        Tensor targets = targets(batch.windows, from, to, scratch);
        if (teachers.top == null) {
            Tensor theirs = logits(teachers, from, to, scratch);
            backend.run(
                    new LossOp.DistillLoss(
                            dlogits, losses, logits, theirs, targets, weights, batch.scale));
        } else {
            for (TeacherCache.Part part : teachers.top.parts(from, to)) {
                int first = part.from() - from;
                int end = part.to() - from;
                backend.run(
                        new LossOp.DistillTopLoss(
                                dlogits.rows(first, end),
                                losses.rows(first, end),
                                logits.rows(first, end),
                                part.ids(),
                                part.values(),
                                targets.reshape(n, 1).rows(first, end).reshape(end - first),
                                weights,
                                spec.missing(),
                                batch.scale));
            }
        }
        try (Arena host = Arena.ofConfined()) {
            MemorySegment copy = host.allocate(losses.byteSize(), 8);
            backend.download(copy, losses);
            for (int i = 0; i < 4 * n; i++) {
                sums[i % 4] += copy.getAtIndex(ValueLayout.JAVA_DOUBLE, i);
            }
        }
        if (batch.dnormed != null) {
            tape.backward();
        }
    }

    /// Of the teacher; null where it is not asked.
    private Tensor logits(Asked teachers, int from, int to, TensorArena scratch) {
        return teachers.normed == null
                ? null
                : new Head(teacher.model())
                        .logits(teachers.normed.rows(from, to), vocabulary, scratch);
    }

    /// The token after each row, -1 behind a window's last.
    private Tensor targets(Windows windows, int from, int to, TensorArena scratch) {
        Tensor t = scratch.allocate(DType.I32, new Shape(to - from));
        try (Arena host = Arena.ofConfined()) {
            MemorySegment ids = host.allocate(4L * (to - from), 8);
            for (int r = from; r < to; r++) {
                boolean last = (r + 1) % windows.length() == 0;
                int id = last ? -1 : windows.ids().getAtIndex(ValueLayout.JAVA_INT, r + 1);
                ids.setAtIndex(ValueLayout.JAVA_INT, r - from, id);
            }
            backend.upload(t, ids);
        }
        return t;
    }
}
