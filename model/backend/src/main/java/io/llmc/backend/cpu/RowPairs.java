// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.FloatVector.fromMemorySegment;

import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// Products of two rows of a weight, decoded, with pairs of rows of x: each number that is loaded
/// is used twice, and sixteen sums are what vector units want.
final class RowPairs {
    /// See [Dots]; no constant.
    private final int step = Dots.STEP;

    /// The vectors of each product, added up to one: `vectors[(2 * i + j) * N ...]` of row i of x
    /// and row j of the weight.
    ///
    /// @param from byte of w's first row
    /// @param width floats of a row: whole steps
    /// @param count rows of x: a multiple of two
    void multiply(
            float[] vectors, MemorySegment w, long from, MemorySegment x, int width, int count) {
        long pitch = 4L * width;
        for (int i = 0; i < count; i += 2) {
            FloatVector a0 = FloatVector.zero(F);
            FloatVector a1 = FloatVector.zero(F);
            FloatVector a2 = FloatVector.zero(F);
            FloatVector a3 = FloatVector.zero(F);
            FloatVector b0 = FloatVector.zero(F);
            FloatVector b1 = FloatVector.zero(F);
            FloatVector b2 = FloatVector.zero(F);
            FloatVector b3 = FloatVector.zero(F);
            FloatVector c0 = FloatVector.zero(F);
            FloatVector c1 = FloatVector.zero(F);
            FloatVector c2 = FloatVector.zero(F);
            FloatVector c3 = FloatVector.zero(F);
            FloatVector d0 = FloatVector.zero(F);
            FloatVector d1 = FloatVector.zero(F);
            FloatVector d2 = FloatVector.zero(F);
            FloatVector d3 = FloatVector.zero(F);
            FloatVector u;
            FloatVector v;
            FloatVector y;
            FloatVector z;
            long q = x.address() + i * pitch;
            long end = w.address() + from + pitch;
            for (long p = end - pitch; p < end; p += 4L * step) {
                u = fromMemorySegment(F, MEMORY, p, LITTLE_ENDIAN);
                v = fromMemorySegment(F, MEMORY, p + pitch, LITTLE_ENDIAN);
                y = fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN);
                z = fromMemorySegment(F, MEMORY, q + pitch, LITTLE_ENDIAN);
                a0 = u.fma(y, a0);
                b0 = v.fma(y, b0);
                c0 = u.fma(z, c0);
                d0 = v.fma(z, d0);
                u = fromMemorySegment(F, MEMORY, p + 4 * N, LITTLE_ENDIAN);
                v = fromMemorySegment(F, MEMORY, p + pitch + 4 * N, LITTLE_ENDIAN);
                y = fromMemorySegment(F, MEMORY, q + 4 * N, LITTLE_ENDIAN);
                z = fromMemorySegment(F, MEMORY, q + pitch + 4 * N, LITTLE_ENDIAN);
                a1 = u.fma(y, a1);
                b1 = v.fma(y, b1);
                c1 = u.fma(z, c1);
                d1 = v.fma(z, d1);
                u = fromMemorySegment(F, MEMORY, p + 8 * N, LITTLE_ENDIAN);
                v = fromMemorySegment(F, MEMORY, p + pitch + 8 * N, LITTLE_ENDIAN);
                y = fromMemorySegment(F, MEMORY, q + 8 * N, LITTLE_ENDIAN);
                z = fromMemorySegment(F, MEMORY, q + pitch + 8 * N, LITTLE_ENDIAN);
                a2 = u.fma(y, a2);
                b2 = v.fma(y, b2);
                c2 = u.fma(z, c2);
                d2 = v.fma(z, d2);
                u = fromMemorySegment(F, MEMORY, p + 12 * N, LITTLE_ENDIAN);
                v = fromMemorySegment(F, MEMORY, p + pitch + 12 * N, LITTLE_ENDIAN);
                y = fromMemorySegment(F, MEMORY, q + 12 * N, LITTLE_ENDIAN);
                z = fromMemorySegment(F, MEMORY, q + pitch + 12 * N, LITTLE_ENDIAN);
                a3 = u.fma(y, a3);
                b3 = v.fma(y, b3);
                c3 = u.fma(z, c3);
                d3 = v.fma(z, d3);
                q += 4L * step;
            }
            int to = 2 * i * N;
            a0.add(a1).add(a2.add(a3)).intoArray(vectors, to);
            b0.add(b1).add(b2.add(b3)).intoArray(vectors, to + N);
            c0.add(c1).add(c2.add(c3)).intoArray(vectors, to + 2 * N);
            d0.add(d1).add(d2.add(d3)).intoArray(vectors, to + 3 * N);
        }
    }

    /// The vectors of the products of as many rows of the weight as [Dots#ROWS] with one row of x:
    /// `vectors[j * N ...]`.
    void single(float[] vectors, MemorySegment w, MemorySegment x, int width) {
        long pitch = 4L * width;
        FloatVector a0 = FloatVector.zero(F);
        FloatVector a1 = FloatVector.zero(F);
        FloatVector a2 = FloatVector.zero(F);
        FloatVector a3 = FloatVector.zero(F);
        FloatVector b0 = FloatVector.zero(F);
        FloatVector b1 = FloatVector.zero(F);
        FloatVector b2 = FloatVector.zero(F);
        FloatVector b3 = FloatVector.zero(F);
        FloatVector c0 = FloatVector.zero(F);
        FloatVector c1 = FloatVector.zero(F);
        FloatVector c2 = FloatVector.zero(F);
        FloatVector c3 = FloatVector.zero(F);
        FloatVector d0 = FloatVector.zero(F);
        FloatVector d1 = FloatVector.zero(F);
        FloatVector d2 = FloatVector.zero(F);
        FloatVector d3 = FloatVector.zero(F);
        FloatVector y;
        long q = x.address();
        long end = w.address() + pitch;
        for (long p = w.address(); p < end; p += 4L * step) {
            y = fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN);
            a0 = fromMemorySegment(F, MEMORY, p, LITTLE_ENDIAN).fma(y, a0);
            b0 = fromMemorySegment(F, MEMORY, p + pitch, LITTLE_ENDIAN).fma(y, b0);
            c0 = fromMemorySegment(F, MEMORY, p + 2 * pitch, LITTLE_ENDIAN).fma(y, c0);
            d0 = fromMemorySegment(F, MEMORY, p + 3 * pitch, LITTLE_ENDIAN).fma(y, d0);
            y = fromMemorySegment(F, MEMORY, q + 4 * N, LITTLE_ENDIAN);
            a1 = fromMemorySegment(F, MEMORY, p + 4 * N, LITTLE_ENDIAN).fma(y, a1);
            b1 = fromMemorySegment(F, MEMORY, p + pitch + 4 * N, LITTLE_ENDIAN).fma(y, b1);
            c1 = fromMemorySegment(F, MEMORY, p + 2 * pitch + 4 * N, LITTLE_ENDIAN).fma(y, c1);
            d1 = fromMemorySegment(F, MEMORY, p + 3 * pitch + 4 * N, LITTLE_ENDIAN).fma(y, d1);
            y = fromMemorySegment(F, MEMORY, q + 8 * N, LITTLE_ENDIAN);
            a2 = fromMemorySegment(F, MEMORY, p + 8 * N, LITTLE_ENDIAN).fma(y, a2);
            b2 = fromMemorySegment(F, MEMORY, p + pitch + 8 * N, LITTLE_ENDIAN).fma(y, b2);
            c2 = fromMemorySegment(F, MEMORY, p + 2 * pitch + 8 * N, LITTLE_ENDIAN).fma(y, c2);
            d2 = fromMemorySegment(F, MEMORY, p + 3 * pitch + 8 * N, LITTLE_ENDIAN).fma(y, d2);
            y = fromMemorySegment(F, MEMORY, q + 12 * N, LITTLE_ENDIAN);
            a3 = fromMemorySegment(F, MEMORY, p + 12 * N, LITTLE_ENDIAN).fma(y, a3);
            b3 = fromMemorySegment(F, MEMORY, p + pitch + 12 * N, LITTLE_ENDIAN).fma(y, b3);
            c3 = fromMemorySegment(F, MEMORY, p + 2 * pitch + 12 * N, LITTLE_ENDIAN).fma(y, c3);
            d3 = fromMemorySegment(F, MEMORY, p + 3 * pitch + 12 * N, LITTLE_ENDIAN).fma(y, d3);
            q += 4L * step;
        }
        a0.add(a1).add(a2.add(a3)).intoArray(vectors, 0);
        b0.add(b1).add(b2.add(b3)).intoArray(vectors, N);
        c0.add(c1).add(c2.add(c3)).intoArray(vectors, 2 * N);
        d0.add(d1).add(d2.add(d3)).intoArray(vectors, 3 * N);
    }
}
