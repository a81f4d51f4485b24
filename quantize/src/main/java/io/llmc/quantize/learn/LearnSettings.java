// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.learn;

import io.llmc.backend.OptimizerOp;

/// How long and how fast rounding is learned.
///
/// @param steps of each block
/// @param sequences of a step
/// @param rate of weights in the first step, in steps of the grid; it falls linearly to 0
/// @param rangeRate of scales, as a part of themselves; 0 leaves them as they are
/// @param momentum what stays of a gradient for the next step
record LearnSettings(
        int steps, int sequences, double rate, double rangeRate, double momentum, long seed) {
    /// @param count sequences that there are
    int batch(int count) {
        return Math.min(sequences, count);
    }

    /// @param step from 0
    OptimizerOp.SignSpec at(int step) {
        double left = 1 - (double) step / steps;
        return new OptimizerOp.SignSpec(
                (float) (rate * left), (float) (rangeRate * left), (float) momentum);
    }
}
