// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

/// Whether a group's range is narrowed before its weights are rounded.
public enum Clip {
    /// To the least squared error of the layer's outputs, as far as the group makes them: by the
    /// Gram matrix of its inputs, on a sample of the calibration data.
    OUTPUT,
    /// To the least squared error weighted by the Hessian's diagonal, by how much each input
    /// matters.
    HESSIAN,
    /// To the least squared error of the weights.
    MSE,
    /// Never: the largest weight is representable.
    NONE
}
