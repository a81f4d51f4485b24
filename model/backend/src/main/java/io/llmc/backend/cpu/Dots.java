// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;

/// Dot products of rows of a weight with a few rows of x: with one row, codes become values in
/// registers; with several, a row of the weight becomes floats in the first cache once for all.
///
/// A product is the sum of the lanes of four vectors, to which those of whole vectors are added in
/// turn: the same for every encoding and every number of rows.
///
/// Loops over one row take a step that the compiler does not know as one: with a constant they were
/// measured to read half as much from memory. Those over four rows count, so that bounds are
/// checked before them (docs/adr/0006-two-kernels-for-products.md).
sealed interface Dots
        permits DenseDots, TableDots, AffineDots, MagnitudeDots, OctetDots, DecodedDots {
    /// Floats of a step: four vectors, one for each sum.
    int STEP = 4 * N;

    /// Rows of a weight that are read at a time, far from one another: a core reads ahead in each
    /// of them, and too little in one alone for a loop that does much with what it has read.
    int ROWS = 4;

    /// Steps of a row that are decoded before those of the next.
    int TURN = 8;

    /// What multiplies rows of k.
    ///
    /// @param rounds whether x may be rounded to integers for integers of four bits
    static Dots of(Operand w, int k, boolean rounds) {
        if (w instanceof Operand.Packed(Weight packed, Decoder _)) {
            Dots dots = packed instanceof Weight.Grouped g ? AffineDots.of(w, g, rounds) : null;
            if (dots == null) {
                dots = OctetDots.of(packed);
            }
            if (dots == null) {
                dots =
                        switch (packed) {
                            case Weight.Dense _, Weight.Blocks _ -> null;
                            case Weight.Grouped g -> TableDots.of(g);
                            case Weight.Scaled s -> N == 8 ? MagnitudeDots.of(s) : TableDots.of(s);
                        };
            }
            if (dots != null) {
                return dots;
            }
        }
        if (k % STEP == 0
                && w instanceof Operand.Rows(var bytes, DType type, long from, long stride)
                && type != DType.F16
                && N >= 8) {
            return new DenseDots(bytes, type, from, stride, k);
        }
        return new DecodedDots(w, k);
    }

    /// Bytes of memory that a row of the weight takes, about.
    long rowBytes();

    /// Rows of x that [#multiply] multiplies.
    default int most() {
        return 1;
    }

    /// Rows of x for [#multiply], `width` from one to the next, as they are until the product is
    /// done.
    ///
    /// @param before what has taken the same rows, and may have arranged them as this wants them;
    ///   null for none
    default void take(MemorySegment x, int rows, int width, Dots before, Scratch shared) {}

    /// The vectors of each product of rows `[first, first + count)` with rows of x, added up to
    /// one: `vectors[(i * count + j) * N ...]`, which has four times as many.
    ///
    /// @return false where this has no way of its own, or none for these rows; nothing is computed
    boolean multiply(float[] vectors, long first, int count, Scratch scratch);

    /// Floats of at most [#ROWS] rows, `width` from one to the next, some of k of each in turn.
    /// What lies between them stays.
    void decode(MemorySegment panel, int width, Rows rows, Scratch scratch);

    /// Rows `first + j * stride` of a weight.
    record Rows(long first, int stride, int count) {
        long get(int j) {
            return first + (long) j * stride;
        }
    }

    /// The address of some bytes of a weight, or of a copy: out of a file before anything is loaded
    /// as a vector (see Lanes.read).
    static long address(MemorySegment bytes, long from, long length, Scratch scratch) {
        if (!bytes.isMapped()) {
            return bytes.address() + from;
        }
        MemorySegment copy = scratch.bytes(1, length);
        MemorySegment.copy(bytes, from, copy, 0, length);
        return copy.address();
    }

    /// `sums[at + j]` = the sum of the lanes of a vector, which is lost: halves are added until one
    /// lane is left. An order of our own, as that of `reduceLanes` is another once a loop has been
    /// compiled.
    static void fold(float[] sums, int at, float[] vectors, int count) {
        int lanes = N;
        for (; lanes > 16; lanes /= 2) {
            for (int i = 0; i < count * lanes / 2; i++) {
                int from = i / (lanes / 2) * lanes + i % (lanes / 2);
                vectors[i] = vectors[from] + vectors[from + lanes / 2];
            }
        }
        if (lanes == 16) {
            for (int j = 0; j < count; j++) {
                FloatVector.fromArray(FloatVector.SPECIES_256, vectors, 16 * j)
                        .add(FloatVector.fromArray(FloatVector.SPECIES_256, vectors, 16 * j + 8))
                        .intoArray(vectors, 8 * j);
            }
            lanes = 8;
        }
        if (lanes == 8) {
            for (int j = 0; j < count; j++) {
                FloatVector.fromArray(FloatVector.SPECIES_128, vectors, 8 * j)
                        .add(FloatVector.fromArray(FloatVector.SPECIES_128, vectors, 8 * j + 4))
                        .intoArray(vectors, 4 * j);
            }
            lanes = 4;
        }
        for (int j = 0; j < count; j++) {
            int i = j * lanes;
            sums[at + j] =
                    lanes == 2
                            ? vectors[i] + vectors[i + 1]
                            : vectors[i] + vectors[i + 2] + (vectors[i + 1] + vectors[i + 3]);
        }
    }
}
