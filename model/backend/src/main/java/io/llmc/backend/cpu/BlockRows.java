// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import static io.llmc.backend.cpu.Lanes.F;
import static io.llmc.backend.cpu.Lanes.N;

import io.llmc.tensor.BlockType;
import io.llmc.tensor.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/// Reads the rows of a weight in GGUF's blocks.
final class BlockRows implements Decoder {
    private final BlockType type;
    private final long rowBytes;
    private final MemorySegment bytes;

    BlockRows(Weight.Blocks w) {
        type = w.type();
        rowBytes = type.rowBytes(w.inFeatures());
        bytes = w.blocks().bytes();
    }

    @Override
    public void decode(float[] dst, int at, long row, int k0, int n, Scratch scratch) {
        int first = k0 / type.length();
        int size = (Math.ceilDiv(k0 + n, type.length()) - first) * type.bytes();
        // Out of a file that may be mapped, before anything is loaded as a vector: see Lanes.read.
        byte[] blocks = scratch.octets(size);
        long from = row * rowBytes + (long) first * type.bytes();
        MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, from, blocks, 0, size);
        for (int k = k0; k < k0 + n; ) {
            int block = k / type.length();
            int end = Math.min(k0 + n, (block + 1) * type.length());
            int start = (block - first) * type.bytes();
            switch (type) {
                case Q8_0 ->
                        scaled(
                                dst,
                                at + k - k0,
                                blocks,
                                start + 2 + k % type.length(),
                                end - k,
                                half(blocks, start));
            }
            k = end;
        }
    }

    private static float half(byte[] bytes, int at) {
        return Float.float16ToFloat((short) (bytes[at] & 0xff | bytes[at + 1] << 8));
    }

    /// `dst[at + i] = scale * codes[from + i]`
    private static void scaled(float[] dst, int at, byte[] codes, int from, int n, float scale) {
        int i = 0;
        if (Lanes.OCTETS != null) {
            for (; i <= n - N; i += N) {
                ((FloatVector)
                                ByteVector.fromArray(Lanes.OCTETS, codes, from + i)
                                        .convertShape(VectorOperators.B2F, F, 0))
                        .mul(scale)
                        .intoArray(dst, at + i);
            }
        }
        for (; i < n; i++) {
            dst[at + i] = codes[from + i] * scale;
        }
    }
}
