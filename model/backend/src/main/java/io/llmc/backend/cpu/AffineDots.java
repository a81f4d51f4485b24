// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.F32;
import static io.llmc.backend.cpu.Lanes.I;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.ZERO_EXTEND_B2I;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

/// Of integers of four and eight bits in groups of half steps: codes themselves are multiplied, and
/// their sums with the group's scale and zero point, `scale * (sum of code * x - zero * sum of x)`.
///
/// So what a code stands for is not rounded to the type of the scales, as it is in a large product:
/// that would take twice as many operations (docs/adr/0006-two-kernels-for-products.md).
final class AffineDots implements Dots {
    private final MemorySegment codes;
    private final MemorySegment scales;
    private final MemorySegment zeros;
    private final DType type;
    private final DecodedDots decoded;
    private final boolean nibbles;

    /// Null where x stays what it is.
    private ShortDots integers;

    /// The zero point of all groups; -1 where each has its own.
    private final int zero;

    private final int groups;
    private final int k;

    /// Inputs of a group; the last one may have fewer.
    private final int per;

    private final long pitch;

    /// The group of each half step of a row, or of each block of integers.
    private final int[] places;

    private int rows;

    /// `[row][k]`, and the opposite of each group's sum, `[row][groups in whole vectors]`, times
    /// the zero point of all.
    private float[] x;

    private float[] sums;

    private AffineDots(Operand operand, Weight.Grouped w, boolean rounds) {
        codes = w.codes().bytes();
        scales = w.scales().bytes();
        zeros = w.zeros().bytes();
        type = w.scales().dtype();
        decoded = new DecodedDots(operand, Math.toIntExact(w.inFeatures()));
        nibbles = w.grid().codes().bits() == 4;
        zero = w.grid().codes().symmetric() ? w.grid().codes().middleCode() : -1;
        groups = Math.toIntExact(w.scales().cols());
        k = Math.toIntExact(w.inFeatures());
        pitch = nibbles ? k / 2 : k;
        per = Math.toIntExact(w.grid().tiles().width(k));
        boolean blocks =
                nibbles
                        && k % ShortDots.BLOCK == 0
                        && k >= ShortDots.BLOCK * ShortDots.TOGETHER
                        && per % ShortDots.BLOCK == 0;
        integers = rounds && blocks ? new ShortDots(k) : null;
        int each = integers == null ? STEP / 2 : ShortDots.BLOCK;
        places = new int[k / each];
        for (int i = 0, group = 0; i < places.length; i++) {
            group += i * each == (group + 1) * per ? 1 : 0;
            places[i] = group;
        }
    }

    /// Null for those that this does not multiply.
    ///
    /// @param operand the same weight
    /// @param rounds whether x may be rounded to integers
    static AffineDots of(Operand operand, Weight.Grouped w, boolean rounds) {
        int bits = w.grid().codes().bits();
        long width = w.grid().tiles().width(w.inFeatures());
        return (bits == 4 || bits == 8)
                        && width % (STEP / 2) == 0
                        && N >= 8
                        && w.groupIndex() == null
                        && w.inFeatures() % STEP == 0
                ? new AffineDots(operand, w, rounds)
                : null;
    }

    @Override
    public int most() {
        return FewRows.MOST;
    }

    @Override
    public long rowBytes() {
        return pitch;
    }

    @Override
    public void take(MemorySegment from, int count, int width, Dots before, Scratch shared) {
        rows = count;
        if (before instanceof AffineDots other && arrangesAs(other)) {
            integers = other.integers;
            x = other.x;
            sums = other.sums;
            return;
        }
        if (integers != null) {
            integers.take(from, count, width, shared);
            sums = zero < 0 ? opposites(count, shared) : null;
            return;
        }
        x = shared.floats(1, count * k);
        int padded = Lanes.padded(groups);
        sums = shared.floats(2, count * padded);
        Arrays.fill(sums, 0, count * padded, 0);
        float[] row = shared.floats(3, k);
        float[] lanes = shared.floats(4, groups * N);
        for (int r = 0; r < count; r++) {
            MemorySegment.copy(from, F32, 4L * r * width, row, 0, k);
            for (int g = 0; g < groups; g++) {
                int end = Math.min(k, (g + 1) * per);
                FloatVector sum = FloatVector.zero(F);
                for (int i = g * per; i < end; i += N) {
                    sum = sum.add(FloatVector.fromArray(F, row, i));
                }
                sum.mul(zero < 0 ? -1 : -zero).intoArray(lanes, g * N);
            }
            Dots.fold(sums, r * padded, lanes, groups);
            if (nibbles) {
                Pairs.arrange(x, r * k, row, k);
            } else {
                CodeDots.words(x, r * k, row, k);
            }
        }
    }

    private boolean arrangesAs(AffineDots other) {
        return k == other.k
                && nibbles == other.nibbles
                && per == other.per
                && zero == other.zero
                && (integers == null) == (other.integers == null);
    }

    /// The opposite of each group's sum of what is rounded.
    private float[] opposites(int count, Scratch shared) {
        int padded = Lanes.padded(groups);
        float[] all = shared.floats(2, count * padded);
        Arrays.fill(all, 0, count * padded, 0);
        for (int r = 0; r < count; r++) {
            for (int b = 0; b < places.length; b++) {
                all[r * padded + places[b]] -= integers.sum(r, b);
            }
        }
        return all;
    }

    @Override
    public boolean multiply(float[] vectors, long first, int count, Scratch scratch) {
        if (Math.ceilDiv(count, 4) * groups > CodeDots.PART) {
            return false;
        }
        float[] f = scratch.floats(8, count * groups + N);
        float[] z = zero < 0 ? scratch.floats(9, count * groups + N) : null;
        boolean finite = scales(f, first * groups, count * groups, scratch);
        if (!finite && (integers == null || z != null)) {
            return false;
        }
        if (z != null) {
            zeros(z, first * groups, count * groups, scratch);
            for (int i = 0; i < count * groups && integers != null; i++) {
                z[i] -= ShortDots.MIDDLE;
            }
        }
        long address = Dots.address(codes, first * pitch, count * pitch, scratch);
        boolean alone = integers != null || rows % 2 == 1;
        float[] parts = alone ? CodeDots.parts(f, count, groups, scratch) : null;
        var tile = new CodeDots(count, address, k, groups, places, f, parts, z, x, sums, vectors);
        if (integers != null) {
            for (int i = 0; i < rows; i++) {
                integers.multiply(i, tile);
            }
            for (int i = 0; i < rows && z != null; i++) {
                tile.offsets(i);
            }
            return true;
        }
        int i = 0;
        for (; i + 1 < rows; i += 2) {
            if (nibbles) {
                tile.nibblesTwice(i);
            } else {
                tile.octetsTwice(i);
            }
        }
        if (i < rows && nibbles) {
            tile.nibbles(i);
        } else if (i < rows) {
            tile.octets(i);
        }
        for (i = 0; i < rows; i++) {
            tile.offsets(i);
        }
        return true;
    }

    @Override
    public void decode(MemorySegment panel, int width, Rows rows, Scratch scratch) {
        decoded.decode(panel, width, rows, scratch);
    }

    /// Scales of groups, and a vector of zeros behind them.
    ///
    /// @return whether all are finite
    private boolean scales(float[] f, long first, int count, Scratch scratch) {
        if (scales.isMapped() || count < N || type != DType.BF16) {
            Lanes.read(f, 0, scales, type, first, count);
        } else {
            Lanes.widen(f, scales.address() + 2 * first, count);
        }
        Arrays.fill(f, count, count + N, 0);
        // Zero times what is not finite is no number.
        FloatVector none = FloatVector.zero(F);
        for (int i = 0; i < count; i += N) {
            none = FloatVector.fromArray(F, f, i).fma(FloatVector.zero(F), none);
        }
        float[] lanes = scratch.floats(10, N);
        none.intoArray(lanes, 0);
        float all = 0;
        for (int i = 0; i < N; i++) {
            all += lanes[i];
        }
        return all == 0;
    }

    /// Zero points of groups, and a vector of zeros behind them.
    private void zeros(float[] z, long first, int count, Scratch scratch) {
        boolean copied = zeros.isMapped() || count < N;
        long octets = zeros.address() + first;
        if (copied) {
            // Out of a file that may be mapped.
            MemorySegment copy = scratch.bytes(0, count + N);
            copy.asSlice(0, count + N).fill((byte) 0);
            MemorySegment.copy(zeros, first, copy, 0, count);
            octets = copy.address();
        }
        for (int i = 0; i < count; i += N) {
            // The last vector lies over the one before, so that nothing behind them is read.
            int g = copied ? i : Math.min(i, count - N);
            ((FloatVector)
                            ((IntVector)
                                            ByteVector.fromMemorySegment(
                                                            Lanes.OCTETS,
                                                            MEMORY,
                                                            octets + g,
                                                            LITTLE_ENDIAN)
                                                    .convertShape(ZERO_EXTEND_B2I, I, 0))
                                    .convert(I2F, 0))
                    .intoArray(z, g);
        }
        Arrays.fill(z, count, count + N, 0);
    }
}
