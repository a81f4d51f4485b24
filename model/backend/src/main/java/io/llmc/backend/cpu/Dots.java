// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import java.lang.foreign.MemorySegment;

/// Dot products of rows of a weight with a few rows of x.
///
/// Loops over memory take a step that the compiler does not know as one. Where it does, it unrolls
/// the loop and loads a step's lines from the last to the first, which the prefetchers of some CPUs
/// do not follow: that halves what a core gets from memory.
sealed interface Dots permits DenseDots, DecodedDots {
    /// Floats of a step: four vectors, one for each sum.
    int STEP = 4 * Lanes.N;

    /// Rows of x, F32, aligned, without gaps.
    ///
    /// @param width floats of a row, whole steps; zeros behind its end
    record Rows(MemorySegment bytes, int count, int width) {
        long from(int row) {
            return 4L * row * width;
        }
    }

    /// `k` rounded up to whole steps.
    static int padded(int k) {
        return Math.ceilDiv(k, STEP) * STEP;
    }

    /// Of rows of k.
    static Dots of(Operand w, int k) {
        if (k % STEP == 0
                && w instanceof Operand.Rows(var bytes, DType type, long from, long stride)
                && type != DType.F16
                && Lanes.N >= 8) {
            return new DenseDots(bytes, type, from, stride, k);
        }
        return new DecodedDots(w, k);
    }

    /// The sums of the lanes of `count` vectors: halves are added until one lane is left. An order
    /// of our own, as that of `reduceLanes` is another once a loop has been compiled.
    static void fold(float[] sums, int at, float[] vectors, int count) {
        for (int j = 0; j < count; j++) {
            int from = j * Lanes.N;
            for (int half = Lanes.N / 2; half > 0; half /= 2) {
                for (int i = from; i < from + half; i++) {
                    vectors[i] += vectors[i + half];
                }
            }
            sums[at + j] = vectors[from];
        }
    }

    /// Bytes of memory that a row of the weight takes, about.
    long rowBytes();

    /// `sums[i * count + j]` = row `i` of x times row `first + j` of the weight
    void run(float[] sums, long first, int count, Rows x, Scratch scratch);
}
