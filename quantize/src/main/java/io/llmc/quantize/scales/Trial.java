// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize.scales;

/// What rounding costs the outputs of a group of layers, as a sum of squares, once their weights
/// are multiplied by scales and their inputs divided by them.
@FunctionalInterface
interface Trial {
    /// @param scales of the channels, none of them 0
    double error(float[] scales);
}
