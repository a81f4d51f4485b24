// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

/// Reads the rows of one packed weight as floats.
sealed interface Decoder permits GroupedRows, ScaledRows, BlockRows {
    /// `dst[at, at + n)` = weights `[k0, k0 + n)` of a row.
    void decode(float[] dst, int at, long row, int k0, int n, Scratch scratch);
}
