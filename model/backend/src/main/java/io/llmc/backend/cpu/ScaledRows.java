// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;

/// Reads the rows of a weight of small floats: `w = round(value(code) * scale)`.
final class ScaledRows implements Decoder {
    private final Codes.Floats type;
    private final long in;
    private final long height;
    private final long width;
    private final long across;
    private final DType rounding;
    private final MemorySegment codes;
    private final MemorySegment scales;

    ScaledRows(Weight.Scaled w) {
        type = w.grid().codes();
        in = w.inFeatures();
        height = w.grid().tiles().height(w.outFeatures());
        width = w.grid().tiles().width(in);
        across = w.scales().cols();
        rounding = w.scales().dtype();
        codes = w.codes().bytes();
        scales = w.scales().bytes();
    }

    @Override
    public void decode(float[] dst, int at, long row, int k0, int n, Scratch scratch) {
        // Out of a file that may be mapped, before anything is loaded as a vector: see Lanes.read.
        byte[] octets = scratch.octets(n);
        MemorySegment.copy(codes, ValueLayout.JAVA_BYTE, row * in + k0, octets, 0, n);
        for (int i = 0; i < n; ) {
            long tile = (k0 + i) / width;
            int end = (int) Math.min(n, (tile + 1) * width - k0);
            float scale = Floats.get(scales, rounding, row / height * across + tile);
            scaled(dst, at, octets, i, end, scale);
            i = end;
        }
    }

    /// `dst[at + i] = round(value(octets[i]) * scale)` for `[i, end)`.
    private void scaled(float[] dst, int at, byte[] octets, int from, int end, float scale) {
        int i = from;
        if (Lanes.OCTETS != null) {
            for (; i <= end - N; i += N) {
                FloatVector v = E4m3.values(octets, i).mul(scale);
                Lanes.round(v, rounding).intoArray(dst, at + i);
            }
        }
        for (; i < end; i++) {
            dst[at + i] = Lanes.round(type.value(octets[i] & 0xff) * scale, rounding);
        }
    }
}
