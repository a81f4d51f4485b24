// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// What small floats of four bits stand for with each of the 256 scales that a byte can be.
final class FloatTables implements TableDots.Tables {
    private final MemorySegment scales;
    private final float[] values = new float[256 * N];

    FloatTables(Weight.Scaled w) {
        scales = w.scales().bytes();
        float[] numbers = new float[N];
        for (int i = 0; i < N; i++) {
            numbers[i] = w.grid().codes().value(i);
        }
        float[] all = new TileScales(w.scales(), w.global()).all();
        FloatVector v = FloatVector.fromArray(F, numbers, 0);
        for (int i = 0; i < all.length; i++) {
            Lanes.round(v.mul(all[i]), w.valueType()).intoArray(values, i * N);
        }
    }

    @Override
    public float[] values() {
        return values;
    }

    @Override
    public boolean prepare(
            int[] from, float[] factors, int at, long first, int count, Scratch scratch) {
        int padded = Lanes.padded(count);
        // Out of a file that may be mapped.
        MemorySegment copy = scratch.bytes(0, padded);
        copy.asSlice(0, padded).fill((byte) 0);
        MemorySegment.copy(scales, first, copy, 0, count);
        for (int i = 0; i < padded; i += N) {
            ((IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, copy, i, LITTLE_ENDIAN)
                                    .convertShape(ZERO_EXTEND_B2I, I, 0))
                    .lanewise(LSHL, Integer.numberOfTrailingZeros(N))
                    .intoArray(from, at + i);
        }
        Arrays.fill(factors, at, at + padded, 1);
        return true;
    }
}
