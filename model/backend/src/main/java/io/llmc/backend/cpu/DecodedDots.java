// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import java.lang.foreign.MemorySegment;

/// Of any weight, by its own decoder.
record DecodedDots(Operand w, int k) implements Dots {
    @Override
    public long rowBytes() {
        return 2L * k;
    }

    @Override
    public boolean multiply(float[] vectors, long first, int count, Scratch scratch) {
        return false;
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        float[] values = scratch.floats(6, TURN * STEP);
        for (int i = 0; i < k; i += TURN * STEP) {
            int n = Math.min(TURN * STEP, k - i);
            for (int j = 0; j < rows.count(); j++) {
                w.read(values, 0, rows.get(j), i, n, scratch);
                MemorySegment.copy(values, 0, panel, Lanes.F32, 4L * (j * width + i), n);
            }
        }
    }
}
