// SPDX-License-Identifier: Apache-2.0

/// Rounding that is learned: codes and scales of a block by the gradients of what the block gives.
package io.llmc.quantize.learn;
