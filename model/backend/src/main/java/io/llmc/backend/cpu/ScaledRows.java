// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// Reads the rows of a weight of small floats: `w = round(value(code) * scale)`.
final class ScaledRows {
    private final float[] values = new float[256];
    private final long in;
    private final long height;
    private final long width;
    private final long across;
    private final DType type;
    private final MemorySegment codes;
    private final MemorySegment scales;

    ScaledRows(Weight.Scaled w) {
        for (int code = 0; code < values.length; code++) {
            values[code] = w.grid().codes().value(code);
        }
        in = w.inFeatures();
        height = w.grid().tiles().height(w.outFeatures());
        width = w.grid().tiles().width(in);
        across = w.scales().cols();
        type = w.scales().dtype();
        codes = w.codes().bytes();
        scales = w.scales().bytes();
    }

    /// `dst[at, at+n)` = weights `[k0, k0 + n)` of a row.
    void decode(float[] dst, int at, long row, int k0, int n) {
        for (int i = 0; i < n; ) {
            long tile = (k0 + i) / width;
            int end = (int) Math.min(n, (tile + 1) * width - k0);
            float scale = Floats.get(scales, type, row / height * across + tile);
            for (; i < end; i++) {
                int code = codes.get(ValueLayout.JAVA_BYTE, row * in + k0 + i) & 0xff;
                dst[at + i] = Floats.round(values[code] * scale, type);
            }
        }
    }
}
