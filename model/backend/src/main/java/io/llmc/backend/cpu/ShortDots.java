// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.CodeDots.PART;
import static io.llmc.backend.cpu.Lanes.MEMORY;
import static io.llmc.backend.cpu.Lanes.N;
import static java.nio.ByteOrder.LITTLE_ENDIAN;
import static jdk.incubator.vector.FloatVector.fromArray;
import static jdk.incubator.vector.VectorOperators.ASHR;
import static jdk.incubator.vector.VectorOperators.I2F;
import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/// Products of 4-bit codes with rows of x that are rounded to integers, for [AffineDots]: what
/// llama.cpp does with 8 bits of x, here with 11, which sums of 16 bits have room for.
///
/// A block of 64 numbers of x has one scale. A lane of 16 bits holds four codes, and adds up the
/// products of all four with its numbers of x. Codes are counted from their middle, so that a sum
/// is at most `4 * 8 * 1023`. What stands above a code in a lane goes into the product, too; the
/// next number of x makes up for it, as 16 bits lose nothing of a sum that fits into them (`a * x +
/// b * y = (a + 16 b) * x + b * (y - 16 x)`). Sums of integers are exact; those of blocks are added
/// in F32.
///
/// A vector holds one block, or two where it has 512 bits. Of a row with an odd number of them the
/// last vector has the last two, and zeros for the one that has been multiplied already.
final class ShortDots {
    /// Numbers of x with one scale.
    static final int BLOCK = 64;

    /// Blocks of a vector.
    static final int TOGETHER = N >= 16 ? 2 : 1;

    private static final boolean WIDE = TOGETHER == 2;

    /// What codes are counted from.
    static final int MIDDLE = 8;

    /// The largest number that x is rounded to.
    private static final int MOST = 1023;

    private static final VectorSpecies<Short> S =
            WIDE ? ShortVector.SPECIES_512 : ShortVector.SPECIES_256;
    private static final VectorSpecies<Float> FLOATS =
            WIDE ? FloatVector.SPECIES_512 : FloatVector.SPECIES_256;

    /// Lanes of 16 and of 32 bits: those of a vector, and those of a block.
    private static final int LANES = 16 * TOGETHER;

    private static final int FLOAT_LANES = 8 * TOGETHER;
    private static final int EACH = 16;
    private static final int EIGHT = 8;

    /// Octets of a vector.
    private static final int OCTETS = 2 * LANES;

    /// Added to a float below 2^22, it leaves the nearest integer in the lowest bits.
    private static final float MAGIC = 0x1.8p23f;

    private static final int MAGIC_BITS = Float.floatToRawIntBits(MAGIC);

    private final int k;
    private final int blocks;

    /// Vectors of a row.
    private final int units;

    /// `[row][unit][4][LANES]`
    private short[] x = new short[0];

    /// The middle of codes times what a lane multiplies it with, `[row][unit][LANES]`.
    private short[] middles = new short[0];

    /// `[row][unit][FLOAT_LANES]`, each block's own one.
    private float[] scales = new float[0];

    /// The sums of what is rounded, `[row][block]`.
    private float[] sums = new float[0];

    /// @param k inputs, in whole blocks, and at least a vector of them
    ShortDots(int k) {
        this.k = k;
        blocks = k / BLOCK;
        units = Math.ceilDiv(blocks, TOGETHER);
    }

    /// Rounds rows of x. One with a number that is not finite has products that are no numbers.
    ///
    /// @param from F32, `width` from one to the next
    void take(MemorySegment from, int rows, int width, Scratch shared) {
        x = new short[rows * units * 4 * LANES];
        middles = new short[rows * units * LANES];
        scales = new float[rows * units * FLOAT_LANES];
        sums = new float[rows * blocks];
        float[] row = shared.floats(3, k);
        int[] integers = new int[BLOCK];
        for (int r = 0; r < rows; r++) {
            MemorySegment.copy(from, Lanes.F32, 4L * r * width, row, 0, k);
            for (int b = 0; b < blocks; b++) {
                float largest = RoundingKernels.largest(row, b * BLOCK, (b + 1) * BLOCK);
                float scale = largest / MOST;
                if (scale >= Float.MIN_NORMAL && scale < Float.POSITIVE_INFINITY) {
                    round(integers, row, b * BLOCK, 1 / scale);
                } else {
                    // What is smaller would not be told from zero in any sum.
                    Arrays.fill(integers, 0);
                    scale = scale < Float.MIN_NORMAL ? 0 : Float.NaN;
                }
                int unit = r * units + b / TOGETHER;
                int place = b - first(b / TOGETHER);
                int lane = unit * FLOAT_LANES + place * EIGHT;
                Arrays.fill(scales, lane, lane + EIGHT, scale);
                sums[r * blocks + b] = scale * arrange(integers, unit, place);
            }
        }
    }

    /// The first block of a row's unit.
    private int first(int unit) {
        return Math.min(unit * TOGETHER, blocks - TOGETHER);
    }

    private static void round(int[] integers, float[] row, int from, float inverse) {
        for (int i = 0; i < BLOCK; i += EIGHT) {
            fromArray(FloatVector.SPECIES_256, row, from + i)
                    .mul(inverse)
                    .add(MAGIC)
                    .reinterpretAsInts()
                    .sub(MAGIC_BITS)
                    .intoArray(integers, i);
        }
    }

    /// @param unit of all rows
    /// @param place of the block within it
    /// @return the sum of all
    private int arrange(int[] integers, int unit, int place) {
        short[] to = x;
        int sum = 0;
        for (int l = 0; l < EACH; l++) {
            int first = integers[4 * l];
            int second = integers[4 * l + 1];
            int third = integers[4 * l + 2];
            int fourth = integers[4 * l + 3];
            int at = unit * 4 * LANES + place * EACH + l;
            to[at] = (short) first;
            to[at + LANES] = (short) (second - 16 * first);
            to[at + 2 * LANES] = (short) (third - 16 * second);
            to[at + 3 * LANES] = (short) (fourth - 16 * third);
            int lane = first + second + third + fourth;
            middles[unit * LANES + place * EACH + l] = (short) (MIDDLE * lane);
            sum += lane;
        }
        return sum;
    }

    /// The sum of the numbers of a row's block, as they are rounded.
    float sum(int row, int b) {
        return sums[row * blocks + b];
    }

    /// Row i of x with the rows of codes, counted from their middle. Four parts of them are read at
    /// the same time (see [CodeDots]).
    ///
    /// @param tile with the group of each block of a row
    void multiply(int i, CodeDots tile) {
        // In locals, as the compiler reads fields again in each turn.
        int units = this.units;
        short[] x = this.x;
        short[] middles = this.middles;
        float[] scales = this.scales;
        int end = blocks - 1;
        int[] places = tile.places();
        float[] factors = tile.parts();
        float[] vectors = tile.vectors();
        int count = tile.count();
        int groups = tile.groups();
        int per = Math.ceilDiv(count, 4);
        int j1 = Math.min(per, count - per);
        int j2 = Math.min(2 * per, count - per);
        int j3 = Math.min(3 * per, count - per);
        int h = 0;
        int g = 0;
        int to = i * count * N;
        long pitch = k / 2;
        long row = tile.codes();
        int last = first(units - 1) * (BLOCK / 2);
        long far1 = j1 * pitch;
        long far2 = j2 * pitch;
        long far3 = j3 * pitch;
        if (N > FLOAT_LANES) {
            Arrays.fill(vectors, to, to + count * N, 0);
        }
        FloatVector s0 = FloatVector.zero(FLOATS);
        FloatVector s1 = FloatVector.zero(FLOATS);
        FloatVector s2 = FloatVector.zero(FLOATS);
        FloatVector s3 = FloatVector.zero(FLOATS);
        FloatVector f;
        // The mask of a constant would be made anew in each turn.
        VectorMask<Float> second =
                FloatVector.zero(FLOATS).addIndex(1).compare(VectorOperators.GE, (float) EIGHT);
        ShortVector four = ShortVector.broadcast(S, 4);
        ShortVector eight = ShortVector.broadcast(S, 8);
        ShortVector twelve = ShortVector.broadcast(S, 12);
        for (int n = 0; n < per * units; n++) {
            long w = row + Math.min(h * OCTETS, last);
            int unit = i * units + h;
            int at = unit * 4 * LANES;
            int p = g + places[TOGETHER * h];
            int q = g + places[Math.min(TOGETHER * h + 1, end)];
            ShortVector x0 = ShortVector.fromArray(S, x, at);
            ShortVector x1 = ShortVector.fromArray(S, x, at + LANES);
            ShortVector x2 = ShortVector.fromArray(S, x, at + 2 * LANES);
            ShortVector x3 = ShortVector.fromArray(S, x, at + 3 * LANES);
            ShortVector m = ShortVector.fromArray(S, middles, unit * LANES);
            FloatVector scale = fromArray(FLOATS, scales, unit * FLOAT_LANES);
            ShortVector v = ShortVector.fromMemorySegment(S, MEMORY, w, LITTLE_ENDIAN);
            IntVector u =
                    v.mul(x0)
                            .sub(m)
                            .add((WIDE ? v.lanewise(LSHR, four) : v.lanewise(LSHR, 4)).mul(x1))
                            .add((WIDE ? v.lanewise(LSHR, eight) : v.lanewise(LSHR, 8)).mul(x2))
                            .add((WIDE ? v.lanewise(LSHR, twelve) : v.lanewise(LSHR, 12)).mul(x3))
                            .reinterpretAsInts();
            u = u.lanewise(LSHL, 16).lanewise(ASHR, 16).add(u.lanewise(ASHR, 16));
            f = FloatVector.broadcast(FLOATS, factors[p]);
            f = WIDE ? f.blend(factors[q], second) : f;
            s0 = ((FloatVector) u.convert(I2F, 0)).mul(scale).fma(f, s0);
            v = ShortVector.fromMemorySegment(S, MEMORY, w + far1, LITTLE_ENDIAN);
            u =
                    v.mul(x0)
                            .sub(m)
                            .add((WIDE ? v.lanewise(LSHR, four) : v.lanewise(LSHR, 4)).mul(x1))
                            .add((WIDE ? v.lanewise(LSHR, eight) : v.lanewise(LSHR, 8)).mul(x2))
                            .add((WIDE ? v.lanewise(LSHR, twelve) : v.lanewise(LSHR, 12)).mul(x3))
                            .reinterpretAsInts();
            u = u.lanewise(LSHL, 16).lanewise(ASHR, 16).add(u.lanewise(ASHR, 16));
            f = FloatVector.broadcast(FLOATS, factors[p + PART]);
            f = WIDE ? f.blend(factors[q + PART], second) : f;
            s1 = ((FloatVector) u.convert(I2F, 0)).mul(scale).fma(f, s1);
            v = ShortVector.fromMemorySegment(S, MEMORY, w + far2, LITTLE_ENDIAN);
            u =
                    v.mul(x0)
                            .sub(m)
                            .add((WIDE ? v.lanewise(LSHR, four) : v.lanewise(LSHR, 4)).mul(x1))
                            .add((WIDE ? v.lanewise(LSHR, eight) : v.lanewise(LSHR, 8)).mul(x2))
                            .add((WIDE ? v.lanewise(LSHR, twelve) : v.lanewise(LSHR, 12)).mul(x3))
                            .reinterpretAsInts();
            u = u.lanewise(LSHL, 16).lanewise(ASHR, 16).add(u.lanewise(ASHR, 16));
            f = FloatVector.broadcast(FLOATS, factors[p + 2 * PART]);
            f = WIDE ? f.blend(factors[q + 2 * PART], second) : f;
            s2 = ((FloatVector) u.convert(I2F, 0)).mul(scale).fma(f, s2);
            v = ShortVector.fromMemorySegment(S, MEMORY, w + far3, LITTLE_ENDIAN);
            u =
                    v.mul(x0)
                            .sub(m)
                            .add((WIDE ? v.lanewise(LSHR, four) : v.lanewise(LSHR, 4)).mul(x1))
                            .add((WIDE ? v.lanewise(LSHR, eight) : v.lanewise(LSHR, 8)).mul(x2))
                            .add((WIDE ? v.lanewise(LSHR, twelve) : v.lanewise(LSHR, 12)).mul(x3))
                            .reinterpretAsInts();
            u = u.lanewise(LSHL, 16).lanewise(ASHR, 16).add(u.lanewise(ASHR, 16));
            f = FloatVector.broadcast(FLOATS, factors[p + 3 * PART]);
            f = WIDE ? f.blend(factors[q + 3 * PART], second) : f;
            s3 = ((FloatVector) u.convert(I2F, 0)).mul(scale).fma(f, s3);
            if (++h == units) {
                s0.intoArray(vectors, to);
                s1.intoArray(vectors, to + j1 * N);
                s2.intoArray(vectors, to + j2 * N);
                s3.intoArray(vectors, to + j3 * N);
                s0 = FloatVector.zero(FLOATS);
                s1 = FloatVector.zero(FLOATS);
                s2 = FloatVector.zero(FLOATS);
                s3 = FloatVector.zero(FLOATS);
                to += N;
                h = 0;
                g += groups;
                row += pitch;
            }
        }
    }
}
