// SPDX-License-Identifier: Apache-2.0
/// Rotations that vanish into weights (QuaRot).
package io.llmc.quantize.rotate;
