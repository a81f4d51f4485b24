// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.backend.Backend;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.student.StudentMemory;
import io.llmc.distill.training.TrainState;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ArenaPlan;
import io.llmc.model.arch.Architectures;
import io.llmc.pipeline.ByteSize;
import io.llmc.pipeline.learning.BlockTrainer;
import io.llmc.pipeline.pass.StreamMemory;

/// How healing block by block keeps to a memory cap: hidden states go to disk where they do not
/// fit, with the same results.
///
/// @param spills whether they do
/// @param bytes outside the Java heap at the worst moment, in whole MiB
record BlockwiseMemory(boolean spills, long bytes) {
    private static final long SLACK = 1 << 18;

    /// From headers alone, as if no window came twice.
    ///
    /// @throws io.llmc.formats.UserException where not even spilling keeps the cap
    static BlockwiseMemory of(
            Checkpoint student, Checkpoint teacher, DistillSpec spec, Backend backend, long cap) {
        StudentMemory own = StudentMemory.of(student, spec, backend);
        int rows = spec.batch() * spec.length();
        long learnt = (long) spec.steps() * spec.accumulate() * spec.batch();
        int windows = Math.toIntExact(Math.min(Integer.MAX_VALUE / 2, learnt + spec.holdout()));
        StreamMemory mine = StreamMemory.of(student, own.model(), backend, windows, spec.length());
        StreamMemory theirs =
                StreamMemory.of(
                        teacher, Architectures.specOf(teacher), backend, windows, spec.length());
        long block = own.block();
        long step =
                own.blocks().stream()
                        .mapToLong(b ->
                                BlockTrainer.bytes(
                                        ArenaPlan.kept(b, rows, own.model().width(), spec.length()),
                                        rows,
                                        own.model().width()))
                        .max()
                        .orElse(0);
        // A block that got worse is made once more; a healed one is read as it will be written.
        long healing = Math.max(theirs.block(), block + Math.max(block + step, own.writtenBlock()));
        long around = mine.outer() + theirs.outer() + mine.pass() + theirs.pass();
        long kernels = own.kernels(rows) + TrainState.CHUNK + SLACK;
        long writing = own.writing() + kernels;
        long resident =
                ByteSize.roundUp(
                        Math.max(
                                writing,
                                around + healing + mine.states() + theirs.states() + kernels));
        if (resident <= cap) {
            return new BlockwiseMemory(false, resident);
        }
        long spilled =
                ByteSize.roundUp(
                        Math.max(
                                writing,
                                around + healing + mine.spill() + theirs.spill() + kernels));
        ByteSize.requireWithin(cap, Math.min(resident, spilled), "lower {batch} or {length}");
        return new BlockwiseMemory(true, spilled);
    }
}
