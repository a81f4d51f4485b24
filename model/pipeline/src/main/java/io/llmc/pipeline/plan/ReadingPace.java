// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.formats.MemoryBudget;
import io.llmc.formats.Sha256;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.pipeline.Finite;
import io.llmc.tensor.Tensor;

/// How fast a model's bytes are gone through here: looked at for damage and summed up.
public final class ReadingPace {
    /// Bytes whose reading is timed, about.
    private static final long PIECE = 32L << 20;

    private ReadingPace() {}

    public static double secondsPerByte(Checkpoint c, MemoryBudget memory) {
        long looked = 0;
        long start = System.nanoTime();
        try (TensorReader reader = c.reader(memory)) {
            for (String name : c.names()) {
                if (looked < PIECE) {
                    Tensor t = reader.tensor(name);
                    Finite.bad(t);
                    new Sha256().add(t.bytes().asByteBuffer());
                    looked += t.byteSize();
                }
            }
        }
        return (System.nanoTime() - start) / 1e9 / looked;
    }
}
