// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

/// Of plain F32 and BF16.
final class DenseDots implements Dots {
    private static final VectorSpecies<Short> S = ShortVector.SPECIES_PREFERRED;

    /// As many as there are floats in a vector.
    private static final VectorSpecies<Short> HALF =
            VectorSpecies.of(short.class, VectorShape.forBitSize(F.vectorBitSize() / 2));

    private final MemorySegment bytes;
    private final DType type;
    private final long from;
    private final long stride;
    private final int k;
    private MemorySegment x;

    /// See [Dots]; no constant, and not in a record.
    private final int step = STEP;

    /// @param from bytes's element of the first row
    /// @param stride elements from row to row
    DenseDots(MemorySegment bytes, DType type, long from, long stride, int k) {
        this.bytes = bytes;
        this.type = type;
        this.from = from;
        this.stride = stride;
        this.k = k;
    }

    @Override
    public long rowBytes() {
        return (long) k * type.bits() / 8;
    }

    @Override
    public void take(MemorySegment x, int rows, int width, Dots before, Scratch shared) {
        this.x = x;
    }

    @Override
    public boolean multiply(float[] vectors, long first, int count, Scratch scratch) {
        long size = type.bits() / 8;
        long pitch = size * stride;
        long at = size * from + first * pitch;
        MemorySegment w = bytes;
        if (bytes.isMapped() || !bytes.isNative()) {
            // Out of the file before anything is loaded as a vector: see Lanes.read.
            w = scratch.bytes(1, count * pitch);
            MemorySegment.copy(bytes, at, w, 0, (count - 1) * pitch + size * k);
            at = 0;
        }
        if (type == DType.F32) {
            f32(vectors, count, w, at, pitch, x);
        } else {
            bf16(vectors, count, w, at, pitch, x);
        }
        return true;
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        for (int i = 0; i < k; i += TURN * STEP) {
            int n = Math.min(TURN * STEP, k - i);
            for (int j = 0; j < rows.count(); j++) {
                long at = 4L * (j * width + i);
                long element = from + rows.get(j) * stride + i;
                if (type == DType.F32) {
                    MemorySegment.copy(bytes, 4 * element, panel, at, 4L * n);
                } else if (bytes.isMapped()) {
                    MemorySegment w = scratch.bytes(1, 2L * TURN * STEP);
                    MemorySegment.copy(bytes, 2 * element, w, 0, 2L * n);
                    widen(panel, at, w, 0, n);
                } else {
                    widen(panel, at, bytes, 2 * element, n);
                }
            }
        }
    }

    private void widen(MemorySegment panel, long at, MemorySegment w, long from, int n) {
        for (int i = 0; i < n; i += step / 2) {
            ShortVector u = ShortVector.fromMemorySegment(S, w, from + 2L * i, LITTLE_ENDIAN);
            long to = at + 4L * i;
            ((IntVector) u.convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 0))
                    .lanewise(VectorOperators.LSHL, 16)
                    .intoMemorySegment(panel, to, LITTLE_ENDIAN);
            ((IntVector) u.convertShape(VectorOperators.ZERO_EXTEND_S2I, I, 1))
                    .lanewise(VectorOperators.LSHL, 16)
                    .intoMemorySegment(panel, to + 4 * N, LITTLE_ENDIAN);
        }
    }

    private void f32(
            float[] sums, int count, MemorySegment w, long from, long pitch, MemorySegment x) {
        for (int j = 0; j < count; j++) {
            FloatVector a = FloatVector.zero(F);
            FloatVector b = a;
            FloatVector c = a;
            FloatVector d = a;
            for (int i = 0; i < k; i += step) {
                long p = from + j * pitch + 4L * i;
                long q = 4L * i;
                a =
                        FloatVector.fromMemorySegment(F, w, p, LITTLE_ENDIAN)
                                .fma(FloatVector.fromMemorySegment(F, x, q, LITTLE_ENDIAN), a);
                b =
                        FloatVector.fromMemorySegment(F, w, p + 4 * N, LITTLE_ENDIAN)
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 4 * N, LITTLE_ENDIAN),
                                        b);
                c =
                        FloatVector.fromMemorySegment(F, w, p + 8 * N, LITTLE_ENDIAN)
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 8 * N, LITTLE_ENDIAN),
                                        c);
                d =
                        FloatVector.fromMemorySegment(F, w, p + 12 * N, LITTLE_ENDIAN)
                                .fma(
                                        FloatVector.fromMemorySegment(
                                                F, x, q + 12 * N, LITTLE_ENDIAN),
                                        d);
            }
            a.add(b).add(c.add(d)).intoArray(sums, j * N);
        }
    }

    /// Four rows at a time, from four parts of the tile: see [Dots#ROWS].
    private void bf16(
            float[] sums, int count, MemorySegment w, long from, long pitch, MemorySegment x) {
        int per = Math.ceilDiv(count, ROWS);
        int steps = k / STEP;
        for (int j = 0; j < per; j++) {
            int r1 = Math.min(j + per, count - 1);
            int r2 = Math.min(j + 2 * per, count - 1);
            int r3 = Math.min(j + 3 * per, count - 1);
            long w0 = w.address() + from + j * pitch;
            long w1 = w.address() + from + r1 * pitch;
            long w2 = w.address() + from + r2 * pitch;
            long w3 = w.address() + from + r3 * pitch;
            FloatVector a0 = FloatVector.zero(F);
            FloatVector b0 = FloatVector.zero(F);
            FloatVector c0 = FloatVector.zero(F);
            FloatVector d0 = FloatVector.zero(F);
            FloatVector a1 = FloatVector.zero(F);
            FloatVector b1 = FloatVector.zero(F);
            FloatVector c1 = FloatVector.zero(F);
            FloatVector d1 = FloatVector.zero(F);
            FloatVector a2 = FloatVector.zero(F);
            FloatVector b2 = FloatVector.zero(F);
            FloatVector c2 = FloatVector.zero(F);
            FloatVector d2 = FloatVector.zero(F);
            FloatVector a3 = FloatVector.zero(F);
            FloatVector b3 = FloatVector.zero(F);
            FloatVector c3 = FloatVector.zero(F);
            FloatVector d3 = FloatVector.zero(F);
            FloatVector y;
            for (int i = 0; i < steps; i++) {
                long at = 2L * STEP * i;
                long q = x.address() + 2 * at;
                y = FloatVector.fromMemorySegment(F, MEMORY, q, LITTLE_ENDIAN);
                a0 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF, MEMORY, w0 + at, LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, a0);
                a1 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF, MEMORY, w1 + at, LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, a1);
                a2 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF, MEMORY, w2 + at, LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, a2);
                a3 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF, MEMORY, w3 + at, LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, a3);
                y = FloatVector.fromMemorySegment(F, MEMORY, q + 4 * N, LITTLE_ENDIAN);
                b0 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w0 + at + 2 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, b0);
                b1 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w1 + at + 2 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, b1);
                b2 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w2 + at + 2 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, b2);
                b3 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w3 + at + 2 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, b3);
                y = FloatVector.fromMemorySegment(F, MEMORY, q + 8 * N, LITTLE_ENDIAN);
                c0 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w0 + at + 4 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, c0);
                c1 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w1 + at + 4 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, c1);
                c2 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w2 + at + 4 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, c2);
                c3 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w3 + at + 4 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, c3);
                y = FloatVector.fromMemorySegment(F, MEMORY, q + 12 * N, LITTLE_ENDIAN);
                d0 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w0 + at + 6 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, d0);
                d1 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w1 + at + 6 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, d1);
                d2 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w2 + at + 6 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, d2);
                d3 =
                        ((IntVector)
                                        ShortVector.fromMemorySegment(
                                                        HALF,
                                                        MEMORY,
                                                        w3 + at + 6 * N,
                                                        LITTLE_ENDIAN)
                                                .convertShape(
                                                        VectorOperators.ZERO_EXTEND_S2I, I, 0))
                                .lanewise(VectorOperators.LSHL, 16)
                                .reinterpretAsFloats()
                                .fma(y, d3);
            }
            a0.add(b0).add(c0.add(d0)).intoArray(sums, j * N);
            a1.add(b1).add(c1.add(d1)).intoArray(sums, r1 * N);
            a2.add(b2).add(c2.add(d2)).intoArray(sums, r2 * N);
            a3.add(b3).add(c3.add(d3)).intoArray(sums, r3 * N);
        }
    }
}
