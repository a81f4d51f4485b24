// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

/// Dot products of rows of a weight with a few rows of x.
///
/// Loops over memory take a step that the compiler does not know as one: with a constant they were
/// measured to read half as much from memory (docs/adr/0006-two-kernels-for-products.md).
sealed interface Dots permits DenseDots, TableDots, ByteDots, DecodedDots {
    /// Floats of a step: four vectors, one for each sum.
    int STEP = 4 * N;

    /// Rows of x, F32, aligned, without gaps, in whole blocks: the first one may be less, and ends
    /// in zeros.
    ///
    /// @param width floats of a row
    record Rows(MemorySegment bytes, int count, int width) {
        long from(int row) {
            return 4L * row * width;
        }
    }

    /// What is loaded at once of a row: a multiple of [#STEP]. The second block begins where whole
    /// ones reach the end of the row.
    default int block() {
        return STEP;
    }

    /// What multiplies rows of k.
    static Dots of(Operand w, int k) {
        if (w instanceof Operand.Packed(Weight packed, Decoder _)
                && packed instanceof Weight.Grouped g) {
            Dots dots = g.grid().codes().bits() == 8 ? ByteDots.of(g) : TableDots.of(g);
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
        return new DecodedDots(w, k, STEP);
    }

    /// The sums of the lanes of `count` vectors, which are lost: halves are added until one lane is
    /// left. An order of our own, as that of `reduceLanes` is another once a loop has been
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
            halve(FloatVector.SPECIES_256, vectors, count);
            lanes = 8;
        }
        if (lanes == 8) {
            halve(FloatVector.SPECIES_128, vectors, count);
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

    private static void halve(VectorSpecies<Float> half, float[] vectors, int count) {
        int n = half.length();
        for (int j = 0; j < count; j++) {
            FloatVector.fromArray(half, vectors, 2 * j * n)
                    .add(FloatVector.fromArray(half, vectors, 2 * j * n + n))
                    .intoArray(vectors, j * n);
        }
    }

    /// Bytes of memory that a row of the weight takes, about.
    long rowBytes();

    /// `sums[i * count + j]` = row `i` of x times row `first + j` of the weight
    void run(float[] sums, long first, int count, Rows x, Scratch scratch);
}
