// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import java.lang.foreign.MemorySegment;

/// Panels: slices of a factor in the order in which the product's inner loop reads them.
final class Panels {
    /// Floats that packing may write past a panel.
    static final int SLACK = Lanes.N;

    private Panels() {}

    /// `panel[at + k * width + i] = rows[i * line + k]`
    static void transpose(
            float[] panel, int at, int width, float[] rows, int line, int count, int n) {
        for (int i = 0; i < count; i++) {
            for (int k = 0; k < n; k++) {
                panel[at + k * width + i] = rows[i * line + k];
            }
        }
        for (int i = count; i < width; i++) {
            for (int k = 0; k < n; k++) {
                panel[at + k * width + i] = 0;
            }
        }
    }

    /// `panel[at + k * width + i] = src[from + k * stride + i]`
    static void copy(
            float[] panel,
            int at,
            int width,
            MemorySegment src,
            long from,
            long stride,
            int count,
            int n) {
        for (int k = 0; k < n; k++) {
            MemorySegment.copy(
                    src, Lanes.F32, 4 * (from + k * stride), panel, at + k * width, count);
            for (int i = count; i < width; i++) {
                panel[at + k * width + i] = 0;
            }
        }
    }
}
