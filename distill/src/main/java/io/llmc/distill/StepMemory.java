// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.backend.TensorArena;
import io.llmc.formats.Checkpoint;
import io.llmc.formats.UserException;
import io.llmc.model.DecoderBlock;
import io.llmc.model.LanguageModel;
import io.llmc.model.Positions;
import io.llmc.pipeline.ArenaPlan;
import io.llmc.pipeline.Sizes;

/// How a training step keeps to a memory cap: where activations of all blocks do not fit, those of
/// one block at a time do, with the same results.
///
/// @param checkpoints blocks run a second time on the way back
/// @param bytes of the arena that a step runs in
record StepMemory(boolean checkpoints, long bytes) {

    /// What lies in memory whatever the batch: both models, gradients and Adam's states.
    ///
    /// @param teacher null for none
    static long fixed(Checkpoint student, Checkpoint teacher, DistillSpec spec) {
        return Student.residentBytes(student, spec) + (teacher == null ? 0 : stored(teacher));
    }

    private static long stored(Checkpoint c) {
        return c.names().stream().mapToLong(n -> c.info(n).byteSize()).sum();
    }

    /// @throws UserException where weights and states alone are above the cap
    static void requireFixed(long fixed, long cap) {
        if (fixed > cap) {
            throw new UserException(
                    "--memory %s is too little: weights, gradients and optimizer states need %s"
                            .formatted(Sizes.format(cap), Sizes.format(fixed)),
                    "raise it, or train less at a time: --optimizer adamw8bit, --lora 16, --blockwise");
        }
    }

    /// @param left bytes under the cap for a step
    /// @throws UserException where not even checkpointed blocks fit
    static StepMemory of(
            Student student, Teacher teacher, TeacherCache cache, DistillSpec spec, long left) {
        long whole = bytes(student, teacher, cache, spec, spec.batch(), false);
        if (!spec.checkpointBlocks() && whole <= left) {
            return new StepMemory(false, whole);
        }
        long least = bytes(student, teacher, cache, spec, spec.batch(), true);
        if (least <= left) {
            return new StepMemory(true, least);
        }
        int fits = spec.batch() - 1;
        while (fits > 0 && bytes(student, teacher, cache, spec, fits, true) > left) {
            fits--;
        }
        throw new UserException(
                "--memory is too little: a step of %d windows of %d tokens needs %s, and %s are left beside weights and states"
                        .formatted(
                                spec.batch(),
                                spec.length(),
                                Sizes.format(least),
                                Sizes.format(Math.max(0, left))),
                fits > 0
                        ? "--batch %d fits, with --accumulate for the rest".formatted(fits)
                        : "raise it, lower --length, or pass --blockwise");
    }

    private static long bytes(
            Student student,
            Teacher teacher,
            TeacherCache cache,
            DistillSpec spec,
            int batch,
            boolean checkpoints) {
        LanguageModel model = student.model();
        int rows = batch * spec.length();
        int hidden = model.spec().hidden();
        long stream = 4L * rows * hidden + 4096;
        try (TensorArena tables =
                model.backend().newArena(Positions.bytes(model.spec(), spec.length()) + 4096)) {
            Positions positions =
                    Positions.of(model.spec(), spec.length(), model.backend(), tables);
            long most = 0;
            long all = 0;
            for (DecoderBlock block : student.blocks()) {
                long kept = ArenaPlan.kept(block, rows, hidden, positions, model.backend());
                most = Math.max(most, kept);
                all += kept;
            }
            // The gradients of one block's activations exist at a time.
            long blocks = (checkpoints ? most : all) + most;
            long streams = stream * (2L * student.blocks().size() + 16);
            long vocabulary = model.spec().vocabulary();
            long piece = Math.min(rows, PredictionLoss.pieceRows(vocabulary));
            // Logits of both, before and after a bias or a cap, and gradients.
            long head = 6 * (4 * piece * vocabulary + (64 << 10));
            // The teacher has gone when the student begins, but for what its head reads.
            long asked = teacher == null ? 0 : teacher.bytes(rows);
            long read = teacher == null ? 0 : 8L * rows * teacher.model().spec().hidden() + 8192;
            long top = cache == null ? 0 : cache.bytes(rows);
            return Math.max(asked, blocks + streams + head + read) + top;
        }
    }
}
