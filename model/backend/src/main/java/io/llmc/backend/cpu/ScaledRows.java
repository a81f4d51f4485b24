// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.FloatVector;

/// Reads the rows of a weight of small floats: `w = round(value(code) * scale)`.
final class ScaledRows implements Decoder {
    private final Codes.Floats type;
    private final SmallFloats floats;
    private final boolean halves;
    private final long in;
    private final long height;
    private final long width;
    private final long across;
    private final DType rounding;
    private final MemorySegment codes;
    private final TileScales scales;

    ScaledRows(Weight.Scaled w) {
        type = w.grid().codes();
        floats = SmallFloats.of(type);
        halves = type.bits() == 4;
        in = w.inFeatures();
        height = w.grid().tiles().height(w.outFeatures());
        width = w.grid().tiles().width(in);
        across = w.scales().cols();
        rounding = w.valueType();
        codes = w.codes().bytes();
        scales = new TileScales(w.scales(), w.global());
    }

    @Override
    public void decode(float[] dst, int at, long row, int k0, int n, Scratch scratch) {
        byte[] octets = scratch.octets(n + 2);
        read(octets, row * in + k0, n);
        for (int i = 0; i < n; ) {
            long tile = (k0 + i) / width;
            int end = (int) Math.min(n, (tile + 1) * width - k0);
            float scale = scales.get(row / height * across + tile);
            scaled(dst, at, octets, i, end, scale);
            i = end;
        }
    }

    /// Codes `[from, from + n)`, one a byte. Out of a file that may be mapped, before anything is
    /// loaded as a vector: see Lanes.read.
    private void read(byte[] octets, long from, int n) {
        if (!halves) {
            MemorySegment.copy(codes, ValueLayout.JAVA_BYTE, from, octets, 0, n);
            return;
        }
        int odd = (int) (from & 1);
        int pairs = (n + odd + 1) / 2;
        // The pairs lie behind where their codes go, or at the same place for the last.
        int packed = n + odd - pairs;
        MemorySegment.copy(codes, ValueLayout.JAVA_BYTE, from / 2, octets, packed, pairs);
        for (int i = 0; i < n; i++) {
            int pair = octets[packed + (i + odd) / 2];
            octets[i] = (byte) ((i + odd & 1) == 0 ? pair & 15 : pair >> 4 & 15);
        }
    }

    /// `dst[at + i] = round(value(octets[i]) * scale)` for `[i, end)`.
    private void scaled(float[] dst, int at, byte[] octets, int from, int end, float scale) {
        int i = from;
        if (Lanes.OCTETS != null) {
            for (; i <= end - N; i += N) {
                FloatVector v = floats.values(octets, i).mul(scale);
                Lanes.round(v, rounding).intoArray(dst, at + i);
            }
        }
        for (; i < end; i++) {
            dst[at + i] = Lanes.round(type.value(octets[i] & 0xff) * scale, rounding);
        }
    }
}
