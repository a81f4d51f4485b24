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
    public boolean multiply(
            float[] vectors, long first, int count, MemorySegment x, Scratch scratch) {
        return false;
    }

    @Override
    public void decode(MemorySegment panel, int width, long first, int count, Scratch scratch) {
        float[] values = scratch.floats(6, Lanes.padded(k));
        for (int j = 0; j < count; j++) {
            w.read(values, 0, first + j, 0, k, scratch);
            MemorySegment.copy(values, 0, panel, Lanes.F32, 4L * j * width, k);
        }
    }
}
