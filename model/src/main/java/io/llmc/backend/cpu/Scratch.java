// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

/// One worker's buffers, kept between tiles so that kernels allocate nothing. What they hold at
/// first is undefined.
final class Scratch {
    private final float[][] floats = new float[8][0];
    private final double[][] doubles = new double[4][0];

    /// At least `length` floats; a slot's earlier array is lost.
    float[] floats(int slot, int length) {
        if (floats[slot].length < length) {
            floats[slot] = new float[length];
        }
        return floats[slot];
    }

    double[] doubles(int slot, int length) {
        if (doubles[slot].length < length) {
            doubles[slot] = new double[length];
        }
        return doubles[slot];
    }
}
