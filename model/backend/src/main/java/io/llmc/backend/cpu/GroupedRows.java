// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.I32;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// Reads the rows of a packed weight: `w = round((code - zero) * scale)`.
final class GroupedRows implements Decoder {
    /// Eight codes, also where vectors are wider.
    private static final VectorSpecies<Integer> S = IntVector.SPECIES_256;

    private static final boolean VECTORS = N >= 8;
    private static final VectorMask<Integer> UPPER = VectorMask.fromLong(S, 0b11110000);

    private final int bits;
    private final int mask;
    private final int groupLength;
    private final long groups;
    private final long words;
    private final DType type;
    private final MemorySegment codes;
    private final MemorySegment scales;
    private final MemorySegment zeros;
    private final MemorySegment groupIndex;
    private final IntVector shifts;

    GroupedRows(Weight.Grouped w) {
        bits = w.grid().codes().bits();
        mask = w.grid().codes().maxCode();
        groupLength = Math.toIntExact(w.grid().tiles().width(w.inFeatures()));
        groups = w.grid().tiles().across(w.inFeatures());
        words = w.grid().codes().words(w.inFeatures());
        type = w.scales().dtype();
        codes = w.codes().bytes();
        scales = w.scales().bytes();
        zeros = w.zeros().bytes();
        shifts = shifts();
        groupIndex = w.groupIndex() == null ? null : w.groupIndex().bytes();
    }

    /// Where each of eight codes begins in the word that it is read from: see [#unpack].
    private IntVector shifts() {
        int[] at = new int[8];
        for (int k = 0; k < at.length; k++) {
            at[k] = k * bits - (bits > 4 && k > 3 ? 8 * (bits - 4) : 0);
        }
        return IntVector.fromArray(S, at, 0);
    }

    @Override
    public void decode(float[] dst, int at, long row, int k0, int n, Scratch scratch) {
        unpack(dst, at, row, k0, n);
        if (groupIndex != null) {
            byIndex(dst, at, row, k0, n, scratch);
            return;
        }
        int end = k0 + n;
        for (int k = k0; k < end; ) {
            int group = k / groupLength;
            int next = Math.min(end, (group + 1) * groupLength);
            scale(dst, at + k - k0, next - k, row * groups + group);
            k = next;
        }
    }

    /// How far the codes of a row are from their zero points: `dst[0, in)`.
    void distances(float[] dst, long row, int in) {
        unpack(dst, 0, row, 0, in);
        for (int i = 0; i < in; i++) {
            dst[i] -= zeros.get(ValueLayout.JAVA_BYTE, row * groups + group(i)) & 0xff;
        }
    }

    /// The group of an input.
    int group(int input) {
        return groupIndex == null ? input / groupLength : groupIndex.get(I32, 4L * input);
    }

    /// `x = round((x - zero) * scale)` of one group.
    private void scale(float[] x, int at, int n, long group) {
        float s = scale(group);
        float z = zeros.get(ValueLayout.JAVA_BYTE, group) & 0xff;
        int i = 0;
        for (; i <= n - N; i += N) {
            FloatVector v = FloatVector.fromArray(F, x, at + i).sub(z).mul(s);
            Lanes.round(v, type).intoArray(x, at + i);
        }
        for (; i < n; i++) {
            x[at + i] = Lanes.round((x[at + i] - z) * s, type);
        }
    }

    private float scale(long group) {
        return switch (type) {
            case F32 -> scales.get(Lanes.F32, 4 * group);
            case BF16 -> Float.intBitsToFloat(scales.get(Lanes.I16, 2 * group) << 16);
            default -> Float.float16ToFloat(scales.get(Lanes.I16, 2 * group));
        };
    }

    private void byIndex(float[] x, int at, long row, int k0, int n, Scratch scratch) {
        float[] s = scratch.floats(5, Math.toIntExact(groups));
        Lanes.read(s, 0, scales, type, row * groups, Math.toIntExact(groups));
        for (int i = 0; i < n; i++) {
            int g = groupIndex.get(I32, 4L * (k0 + i));
            int zero = zeros.get(ValueLayout.JAVA_BYTE, row * groups + g) & 0xff;
            x[at + i] = Lanes.round((x[at + i] - zero) * s[g], type);
        }
    }

    /// Codes as floats, eight at a time. Of at most four bits they lie in four bytes; of more, the
    /// first four codes lie in the first four of their bytes and the others in the last four.
    private void unpack(float[] dst, int at, long row, int k0, int n) {
        int i = 0;
        if (VECTORS && (bits == 8 || k0 % 8 == 0)) {
            long from = 4 * row * words + (long) k0 * bits / 8;
            // Four bytes are read where eight codes may have fewer: not past the row.
            long limit = 4 * (row + 1) * words - Math.max(bits, 4);
            for (; i <= n - 8; i += 8) {
                long byteAt = from + (long) i * bits / 8;
                if (byteAt > limit) {
                    break;
                }
                IntVector word = IntVector.broadcast(S, codes.get(I32, byteAt));
                if (bits > 4) {
                    word = word.blend(codes.get(I32, byteAt + bits - 4), UPPER);
                }
                ((FloatVector)
                                word.lanewise(VectorOperators.LSHR, shifts)
                                        .and(mask)
                                        .convert(VectorOperators.I2F, 0))
                        .intoArray(dst, at + i);
            }
        }
        for (; i < n; i++) {
            dst[at + i] = code(row, k0 + i);
        }
    }

    private int code(long row, int k) {
        long bit = (long) k * bits;
        long word = row * words + (bit >> 5);
        int shift = (int) (bit & 31);
        long window = codes.get(I32, 4 * word) & 0xffffffffL;
        if (shift + bits > 32) {
            window |= (codes.get(I32, 4 * word + 4) & 0xffffffffL) << 32;
        }
        return (int) (window >>> shift) & mask;
    }
}
