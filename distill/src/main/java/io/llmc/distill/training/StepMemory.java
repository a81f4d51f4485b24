// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import io.llmc.backend.Backend;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.spec.LayerMap;
import io.llmc.distill.student.StudentMemory;
import io.llmc.distill.teacher.CacheHeader;
import io.llmc.distill.teacher.TeacherMemory;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.Head;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.pass.StreamMemory;

/// How training keeps to a memory cap: where activations of all blocks do not fit, those of one
/// block at a time do, with the same results.
///
/// @param checkpoints blocks run a second time on the way back
/// @param arena bytes that a step runs in
/// @param bytes outside the Java heap at the worst moment, in whole MiB
public record StepMemory(boolean checkpoints, long arena, long bytes) {
    private static final long SLACK = 1 << 18;

    /// From headers alone.
    ///
    /// @param teacher null where a cache or nobody is asked
    /// @param cache null for none
    /// @throws io.llmc.formats.UserException where not even checkpointed blocks keep the cap
    public static StepMemory of(
            Checkpoint student,
            Checkpoint teacher,
            CacheHeader cache,
            DistillSpec spec,
            Backend backend,
            long cap) {
        Plan plan =
                new Plan(
                        StudentMemory.of(student, spec, backend),
                        spec.asks() ? teacher : null,
                        spec.loss().asksTeacher() ? cache : null);
        StepMemory whole = plan.of(spec.batch(), false);
        if (!spec.checkpointBlocks() && whole.bytes <= cap) {
            return whole;
        }
        StepMemory least = plan.of(spec.batch(), true);
        if (least.bytes > cap) {
            int fits = spec.batch() - 1;
            while (fits > 0 && plan.of(fits, true).bytes > cap) {
                fits--;
            }
            ByteSize.requireWithin(
                    cap,
                    least.bytes,
                    fits > 0
                            ? "lower the batch: {batch} %d fits, with {accumulate} for the rest"
                                    .formatted(fits)
                            : "train less at a time: {optimizer} adamw8bit, {lora} 16, {blockwise},"
                                    + " a lower {length}");
        }
        return least;
    }

    private record Plan(StudentMemory student, Checkpoint teacher, CacheHeader cache) {
        public StepMemory of(int batch, boolean checkpoints) {
            DistillSpec spec = student.spec();
            int rows = batch * spec.length();
            long arena = arena(rows, checkpoints);
            long learning = arena;
            if (teacher != null) {
                learning += TeacherMemory.resident(teacher, student.backend(), spec.length());
            }
            if (spec.inside().any() && teacher != null) {
                LayerMap map = LayerMap.of(student.c(), teacher, spec.inside().map());
                learning += inside(map, rows);
            }
            if (cache != null) {
                learning += 4L * cache.length() * cache.topK() + 64;
            }
            // A piece of the losses on its way to the host.
            learning += 64L * rows;
            return new StepMemory(
                    checkpoints,
                    arena,
                    ByteSize.roundUp(
                            student.resident()
                                    + kernels(rows)
                                    + TrainState.CHUNK
                                    + Math.max(learning, student.writing())
                                    + SLACK));
        }

        private long inside(LayerMap map, int rows) {
            ModelSpec theirs = Architectures.specOf(teacher);
            // Projections begin as random values of the host.
            long host = 4L * student.model().width() * theirs.width() + 64;
            return InsideLoss.learntBytes(student.model(), theirs, student.spec())
                    + InsideLoss.workBytes(student.model(), theirs, map, student.spec(), rows)
                    + host;
        }

        /// The teacher's products come in the place of the student's.
        private long kernels(int rows) {
            long own = StreamMemory.kernels(student.model(), student.backend(), rows);
            long theirs =
                    teacher == null
                            ? 0
                            : StreamMemory.kernels(
                                    Architectures.specOf(teacher), student.backend(), rows);
            return student.kernels(rows) + Math.max(0, theirs - own);
        }

        private long arena(int rows, boolean checkpoints) {
            ModelSpec model = student.model();
            int hidden = model.width();
            long stream = 4L * rows * hidden + 4096;
            long most = 0;
            long all = 0;
            for (DecoderBlock block : student.blocks()) {
                long kept = ArenaPlan.kept(block, rows, hidden, student.spec().length());
                most = Math.max(most, kept);
                all += kept;
            }
            // Of each block its result and a gradient, and some of the ends.
            long streams = stream * (2L * model.layers().size() + 8);
            long vocabulary = model.vocabulary();
            long piece = Math.min(rows, PredictionLoss.pieceRows(vocabulary));
            // The values of a packed layer have a gradient while it is handed on to its scales.
            long handed = student.largestWithScales();
            // Logits with their gradients, and the teacher's; they go before the way back begins,
            // on which the gradients of one block's activations exist at a time.
            int copies =
                    2 * Head.copies(student.c(), model)
                            + (teacher == null
                                    ? 0
                                    : Head.copies(teacher, Architectures.specOf(teacher)));
            long head = copies * (4 * piece * vocabulary + (64 << 10));
            long kept = checkpoints ? 0 : all;
            long back = (checkpoints ? most : 0) + most + handed;
            // The teacher has gone when the student begins, but for what its head reads.
            long asked = 0;
            long read = 0;
            if (teacher != null) {
                asked = TeacherMemory.pass(teacher, rows, student.spec().length());
                read = 8L * rows * Architectures.specOf(teacher).width() + 8192;
            }
            long top = cache == null ? 0 : 8L * rows * cache.topK() + 4096;
            return Math.max(asked, kept + Math.max(head, back) + streams + read) + top;
        }
    }
}
