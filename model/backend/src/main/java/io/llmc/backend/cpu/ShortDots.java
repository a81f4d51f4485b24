// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

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
import jdk.incubator.vector.VectorSpecies;

/// Products of 4-bit codes with rows of x that are rounded to integers, for [AffineDots]: what
/// llama.cpp does with 8 bits of x, here with 11, which sums of 16 bits have room for.
///
/// A block of 64 numbers of x has one scale. A lane of 16 bits holds four codes, and adds up the
/// products of all four with its numbers of x. Codes are counted from their middle, so that a sum
/// is at most `4 * 8 * 1023`. What stands above a code in a lane goes into the product, too; the
/// next number of x makes up for it, as 16 bits lose nothing of a sum that fits into them (`a * x +
/// b * y = (a + 16 b) * x + b * (y - 16 x)`). Sums of integers are exact; those of blocks are added
/// in F32, in eight lanes on every CPU: the same bits everywhere.
final class ShortDots {
    /// Numbers of x with one scale.
    static final int BLOCK = 64;

    /// What codes are counted from.
    static final int MIDDLE = 8;

    /// The largest number that x is rounded to.
    private static final int MOST = 1023;

    private static final VectorSpecies<Short> S = ShortVector.SPECIES_256;
    private static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_256;

    private static final int LANES = 16;
    private static final int EIGHT = 8;

    /// Added to a float below 2^22, it leaves the nearest integer in the lowest bits.
    private static final float MAGIC = 0x1.8p23f;

    private static final int MAGIC_BITS = Float.floatToRawIntBits(MAGIC);

    private final int k;
    private final int blocks;

    /// `[row][block][4][LANES]`
    private short[] x = new short[0];

    /// The middle of codes times what a lane multiplies it with, `[row][block][LANES]`.
    private short[] middles = new short[0];

    /// `[row][block]` each: scales, and sums of integers.
    private float[] scales = new float[0];

    private float[] sums = new float[0];

    /// @param k inputs, in whole blocks
    ShortDots(int k) {
        this.k = k;
        blocks = k / BLOCK;
    }

    /// Rounds rows of x. One with a number that is not finite has products that are no numbers.
    ///
    /// @param from F32, `width` from one to the next
    void take(MemorySegment from, int rows, int width, Scratch shared) {
        x = new short[rows * k];
        middles = new short[rows * blocks * LANES];
        scales = new float[rows * blocks];
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
                scales[r * blocks + b] = scale;
                sums[r * blocks + b] = arrange(integers, r * blocks + b);
            }
        }
    }

    private static void round(int[] integers, float[] row, int from, float inverse) {
        for (int i = 0; i < BLOCK; i += EIGHT) {
            fromArray(FLOATS, row, from + i)
                    .mul(inverse)
                    .add(MAGIC)
                    .reinterpretAsInts()
                    .sub(MAGIC_BITS)
                    .intoArray(integers, i);
        }
    }

    /// @param number of the block, of all rows
    /// @return the sum of all
    private int arrange(int[] integers, int number) {
        int sum = 0;
        for (int l = 0; l < LANES; l++) {
            int before = 0;
            int lane = 0;
            for (int i = 0; i < 4; i++) {
                int now = integers[4 * l + i];
                x[number * BLOCK + i * LANES + l] = (short) (now - 16 * before);
                lane += now;
                before = now;
            }
            middles[number * LANES + l] = (short) (MIDDLE * lane);
            sum += lane;
        }
        return sum;
    }

    /// The sum of the numbers of a row's block, as they are rounded.
    float sum(int row, int b) {
        return scales[row * blocks + b] * sums[row * blocks + b];
    }

    /// Rows of codes, and what becomes of them.
    ///
    /// @param codes address of whole rows
    /// @param places the group of each block of a row
    /// @param factors `[count][groups]`
    /// @param vectors `[i][count][N]`
    @SuppressWarnings("ArrayRecordComponent") // never compared
    record Tile(
            int count, long codes, int groups, int[] places, float[] factors, float[] vectors) {}

    /// Row i of x with rows of codes, counted from their middle. Four parts of them are read at the
    /// same time (see [CodeDots]).
    void multiply(int i, Tile tile) {
        int[] places = tile.places;
        float[] factors = tile.factors;
        float[] vectors = tile.vectors;
        int count = tile.count;
        int groups = tile.groups;
        int per = Math.ceilDiv(count, 4);
        int j1 = Math.min(per, count - per);
        int j2 = Math.min(2 * per, count - per);
        int j3 = Math.min(3 * per, count - per);
        int h = 0;
        int g0 = 0;
        int g1 = j1 * groups;
        int g2 = j2 * groups;
        int g3 = j3 * groups;
        int to = i * count * N;
        long far1 = (long) j1 * (k / 2);
        long far2 = (long) j2 * (k / 2);
        long far3 = (long) j3 * (k / 2);
        if (N > EIGHT) {
            Arrays.fill(vectors, to, to + count * N, 0);
        }
        FloatVector s0 = FloatVector.zero(FLOATS);
        FloatVector s1 = FloatVector.zero(FLOATS);
        FloatVector s2 = FloatVector.zero(FLOATS);
        FloatVector s3 = FloatVector.zero(FLOATS);
        for (int n = 0; n < per * blocks; n++) {
            long w = tile.codes + (long) n * (BLOCK / 2);
            int b = i * blocks + h;
            int at = b * BLOCK;
            int g = places[h];
            float scale = scales[b];
            ShortVector x0 = ShortVector.fromArray(S, x, at);
            ShortVector x1 = ShortVector.fromArray(S, x, at + LANES);
            ShortVector x2 = ShortVector.fromArray(S, x, at + 2 * LANES);
            ShortVector x3 = ShortVector.fromArray(S, x, at + 3 * LANES);
            ShortVector m = ShortVector.fromArray(S, middles, b * LANES);
            ShortVector v = ShortVector.fromMemorySegment(S, MEMORY, w, LITTLE_ENDIAN);
            IntVector u =
                    v.mul(x0)
                            .sub(m)
                            .add(v.lanewise(LSHR, 4).mul(x1))
                            .add(v.lanewise(LSHR, 8).mul(x2).add(v.lanewise(LSHR, 12).mul(x3)))
                            .reinterpretAsInts();
            u = u.lanewise(LSHL, 16).lanewise(ASHR, 16).add(u.lanewise(ASHR, 16));
            s0 =
                    ((FloatVector) u.convert(I2F, 0))
                            .fma(FloatVector.broadcast(FLOATS, factors[g0 + g] * scale), s0);
            v = ShortVector.fromMemorySegment(S, MEMORY, w + far1, LITTLE_ENDIAN);
            u =
                    v.mul(x0)
                            .sub(m)
                            .add(v.lanewise(LSHR, 4).mul(x1))
                            .add(v.lanewise(LSHR, 8).mul(x2).add(v.lanewise(LSHR, 12).mul(x3)))
                            .reinterpretAsInts();
            u = u.lanewise(LSHL, 16).lanewise(ASHR, 16).add(u.lanewise(ASHR, 16));
            s1 =
                    ((FloatVector) u.convert(I2F, 0))
                            .fma(FloatVector.broadcast(FLOATS, factors[g1 + g] * scale), s1);
            v = ShortVector.fromMemorySegment(S, MEMORY, w + far2, LITTLE_ENDIAN);
            u =
                    v.mul(x0)
                            .sub(m)
                            .add(v.lanewise(LSHR, 4).mul(x1))
                            .add(v.lanewise(LSHR, 8).mul(x2).add(v.lanewise(LSHR, 12).mul(x3)))
                            .reinterpretAsInts();
            u = u.lanewise(LSHL, 16).lanewise(ASHR, 16).add(u.lanewise(ASHR, 16));
            s2 =
                    ((FloatVector) u.convert(I2F, 0))
                            .fma(FloatVector.broadcast(FLOATS, factors[g2 + g] * scale), s2);
            v = ShortVector.fromMemorySegment(S, MEMORY, w + far3, LITTLE_ENDIAN);
            u =
                    v.mul(x0)
                            .sub(m)
                            .add(v.lanewise(LSHR, 4).mul(x1))
                            .add(v.lanewise(LSHR, 8).mul(x2).add(v.lanewise(LSHR, 12).mul(x3)))
                            .reinterpretAsInts();
            u = u.lanewise(LSHL, 16).lanewise(ASHR, 16).add(u.lanewise(ASHR, 16));
            s3 =
                    ((FloatVector) u.convert(I2F, 0))
                            .fma(FloatVector.broadcast(FLOATS, factors[g3 + g] * scale), s3);
            if (++h == blocks) {
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
                g0 += groups;
                g1 += groups;
                g2 += groups;
                g3 += groups;
            }
        }
    }
}
