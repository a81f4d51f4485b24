// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.VectorOperators.B2I;
import static jdk.incubator.vector.VectorOperators.EQ;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import io.llmc.tensor.BlockType;
import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorSpecies;

/// Of codes of eight bits in groups of whole vectors: integers, E4M3, and GGUF's blocks.
final class OctetDots implements Dots {
    private static final VectorSpecies<Byte> B = ByteVector.SPECIES_PREFERRED;

    /// Sign, exponent and mantissa of E4M3 where a float has them, of an octet that was widened
    /// with its sign and shifted.
    private static final int E4M3 = 0x87f00000;

    private static final int E4M3_SHIFT = 20;
    private static final byte E4M3_NAN = 0x7f;

    /// From its exponent's bias to a float's.
    private static final float E4M3_FACTOR = 0x1p120f;

    /// Its subnormal numbers are those of floats until they are multiplied, which is slow for such.
    /// With this added they are none, and all numbers of E4M3 are as exact as before.
    private static final float E4M3_ANCHOR = 0x1p-110f;

    /// Least scale times that factor whose product with the anchor is exact.
    private static final float SMALL = 0x1p10f;

    private final Groups scales;
    private final DecodedDots decoded;
    private final MemorySegment codes;
    private final long pitch;
    private final int k;

    /// Codes of a group, and bytes before them and from one group to the next.
    private final int length;

    private final int head;
    private final int stride;

    /// Whether codes are E4M3, and which bits of a widened octet are an integer's.
    private final boolean floats;

    private final int integer;

    /// How a value is rounded: to the nearest, half to even, by bits that are dropped. Nothing of
    /// F32 is.
    private final int drop;

    private final int odd;
    private final int bias;
    private final int keep;

    /// See [Dots]; no constant.
    private final int step = STEP;

    /// What the groups of a row have.
    @FunctionalInterface
    private interface Groups {
        /// Scale and zero point of a group.
        ///
        /// @return whether values are rounded right by dropping bits
        boolean get(float[] scales, float[] zeros, int at, long row, int group);
    }

    private OctetDots(Weight w, MemorySegment codes, int[] group, DType rounding, Groups scales) {
        this.codes = codes;
        this.scales = scales;
        k = Math.toIntExact(w.inFeatures());
        decoded = new DecodedDots(Operand.of(w), k);
        length = group[0];
        head = group[1];
        stride = length + head;
        pitch = (long) k / length * stride + k % length;
        floats = w instanceof Weight.Scaled;
        integer = w instanceof Weight.Grouped ? 0xff : -1;
        drop = rounding == DType.BF16 ? 16 : rounding == DType.F16 ? 13 : 0;
        odd = drop == 0 ? 0 : 1;
        bias = drop == 0 ? 0 : (1 << drop - 1) - 1;
        keep = -1 << drop;
    }

    /// Null for those that this does not decode.
    static OctetDots of(Weight w) {
        return w.inFeatures() % STEP != 0 || N < 8
                ? null
                : switch (w) {
                    case Weight.Dense _ -> null;
                    case Weight.Grouped g -> of(g);
                    case Weight.Scaled s -> of(s);
                    case Weight.Blocks b -> of(b);
                };
    }

    private static OctetDots of(Weight.Grouped w) {
        long width = w.grid().tiles().width(w.inFeatures());
        if (w.grid().codes().bits() != 8 || w.groupIndex() != null || width % N != 0) {
            return null;
        }
        GroupTables groups = new GroupTables(w);
        MemorySegment points = w.zeros().bytes();
        long across = w.scales().cols();
        return new OctetDots(
                w,
                w.codes().bytes(),
                new int[] {Math.toIntExact(width), 0},
                w.scales().dtype(),
                (scales, zeros, at, row, group) -> {
                    int s = groups.scale(row * across + group);
                    scales[at] = groups.value(s);
                    zeros[at] = points.get(ValueLayout.JAVA_BYTE, row * across + group) & 0xff;
                    return !groups.irregular(s);
                });
    }

    private static OctetDots of(Weight.Scaled w) {
        long width = w.grid().tiles().width(w.inFeatures());
        if (w.grid().codes().bits() != 8 || w.valueType() == DType.F16 || width % N != 0) {
            return null;
        }
        TileScales tiles = new TileScales(w.scales(), w.global());
        long height = w.grid().tiles().height(w.outFeatures());
        long across = w.scales().cols();
        return new OctetDots(
                w,
                w.codes().bytes(),
                new int[] {Math.toIntExact(width), 0},
                w.valueType(),
                (scales, zeros, at, row, group) -> {
                    scales[at] = tiles.get(row / height * across + group) * E4M3_FACTOR;
                    zeros[at] = -E4M3_ANCHOR * scales[at];
                    return Float.isFinite(scales[at]) && Math.abs(scales[at]) > SMALL;
                });
    }

    private static OctetDots of(Weight.Blocks w) {
        BlockType type = w.type();
        int head = type.bytes() - type.length();
        MemorySegment bytes = w.blocks().bytes();
        long pitch = type.rowBytes(w.inFeatures());
        return switch (type) {
            case Q8_0 ->
                    new OctetDots(
                            w,
                            bytes,
                            new int[] {type.length(), head},
                            DType.F32,
                            (scales, zeros, at, row, group) -> {
                                long block = row * pitch + (long) group * type.bytes();
                                scales[at] = Float.float16ToFloat(bytes.get(Lanes.I16, block));
                                zeros[at] = 0;
                                return true;
                            });
        };
    }

    @Override
    public long rowBytes() {
        return pitch;
    }

    @Override
    public boolean multiply(float[] vectors, long first, int count, Scratch scratch) {
        return false;
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        boolean regular = true;
        int turn = TURN * step;
        float[] factors = scratch.floats(8, turn / N + 1);
        float[] zeros = scratch.floats(9, turn / N + 1);
        for (int i = 0; i < k; i += turn) {
            int n = Math.min(turn, k - i);
            int first = i / length;
            int last = (i + n - 1) / length;
            for (int j = 0; j < rows.count(); j++) {
                long row = rows.get(j);
                for (int g = first; g <= last; g++) {
                    regular &= scales.get(factors, zeros, g - first, row, g);
                }
                long from = row * pitch + (long) first * stride + head + i % length;
                long size = n + (long) (last - first) * head;
                long at = address(from, size, scratch);
                regular &= !floats || numbers(at, n);
                long to = panel.address() + 4L * (j * width + i);
                values(to, at, n, length - i % length, factors, zeros);
            }
        }
        if (!regular) {
            decoded.decode(panel, width, rows, scratch);
        }
    }

    /// The address of some codes, or of a copy: out of a file before anything is loaded as a vector
    /// (see Lanes.read).
    private long address(long from, long size, Scratch scratch) {
        if (!codes.isMapped()) {
            return codes.address() + from;
        }
        MemorySegment copy = scratch.bytes(1, size);
        MemorySegment.copy(codes, from, copy, 0, size);
        return copy.address();
    }

    /// Whether none of so many codes of E4M3 is NaN.
    private boolean numbers(long at, int n) {
        VectorMask<Byte> not = B.maskAll(false);
        for (int i = 0; i < n; i += step) {
            not =
                    not.or(
                            ByteVector.fromMemorySegment(B, MEMORY, at + i, LITTLE_ENDIAN)
                                    .and(E4M3_NAN)
                                    .compare(EQ, E4M3_NAN));
        }
        return !not.anyTrue();
    }

    /// @param left codes of the first group
    private void values(long to, long at, int n, int left, float[] scales, float[] zeros) {
        int by = step / 4;
        int group = 0;
        long end = to + 4L * n;
        for (long q = to; q < end; q += 4L * by) {
            IntVector c =
                    (IntVector)
                            ByteVector.fromMemorySegment(Lanes.OCTETS, MEMORY, at, LITTLE_ENDIAN)
                                    .convertShape(B2I, I, 0);
            FloatVector f =
                    floats
                            ? c.lanewise(LSHL, E4M3_SHIFT)
                                    .and(E4M3)
                                    .reinterpretAsFloats()
                                    .add(E4M3_ANCHOR)
                                    .fma(
                                            FloatVector.broadcast(F, scales[group]),
                                            FloatVector.broadcast(F, zeros[group]))
                            : ((FloatVector) c.and(integer).convert(I2F, 0))
                                    .sub(zeros[group])
                                    .mul(scales[group]);
            IntVector v = f.reinterpretAsInts();
            v.lanewise(LSHR, drop)
                    .and(odd)
                    .add(v.add(bias))
                    .and(keep)
                    .intoMemorySegment(MEMORY, q, LITTLE_ENDIAN);
            left -= by;
            at += left == 0 ? by + head : by;
            group += left == 0 ? 1 : 0;
            left = left == 0 ? length : left;
        }
    }
}
