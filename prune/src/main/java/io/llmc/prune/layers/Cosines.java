// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

/// Cosines of the angles between vectors, summed in doubles.
final class Cosines {
    private Cosines() {}

    /// The cosine between row `row` of a and of b, both `[rows, width]`. A vector of zeros has an
    /// angle of 0 to another of zeros and a right one to all else.
    static double ofRow(float[] a, float[] b, int row, int width) {
        double dot = 0;
        double aa = 0;
        double bb = 0;
        for (int i = row * width; i < (row + 1) * width; i++) {
            dot += (double) a[i] * b[i];
            aa += (double) a[i] * a[i];
            bb += (double) b[i] * b[i];
        }
        if (aa == 0 || bb == 0) {
            return aa == bb ? 1 : 0;
        }
        return Math.clamp(dot / Math.sqrt(aa * bb), -1.0, 1.0);
    }
}
