// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.teacher;

import io.llmc.backend.Backend;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ArenaPlan;
import io.llmc.model.DecoderBlock;
import io.llmc.model.ModelSpec;
import io.llmc.model.Positions;
import io.llmc.model.arch.Architectures;
import io.llmc.model.language.ResidentModel;
import io.llmc.pipeline.pass.StreamMemory;

/// What a model that is only asked takes at most, in bytes and from headers alone.
public final class TeacherMemory {
    private TeacherMemory() {}

    /// Outside the Java heap, before it is asked.
    public static long resident(Checkpoint c, Backend backend, int length) {
        ModelSpec spec = Architectures.specOf(c);
        long mapped =
                c.names().stream()
                        .mapToLong(n -> StreamMemory.inMemory(c, n, spec.inOutLinears()))
                        .sum();
        return mapped
                + ResidentModel.copies(c, "", backend)
                + Positions.bytes(spec, length)
                + (1 << 14);
    }

    /// Of an arena, for [ResidentModel#normed] of so many rows.
    public static long pass(Checkpoint c, int rows, int length) {
        ModelSpec spec = Architectures.specOf(c);
        int hidden = spec.width();
        long most = 0;
        for (DecoderBlock block : StreamMemory.outlines(c, spec)) {
            most = Math.max(most, ArenaPlan.kept(block, rows, hidden, length));
        }
        return most + 12L * rows * hidden + 4096;
    }
}
