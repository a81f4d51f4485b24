// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend.cpu;

import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// The scales of a grid as floats, in each way that they are stored.
final class TileScales {
    private final DType type;
    private final MemorySegment bytes;

    /// What a byte stands for; null where scales are floats.
    private final float[] ofByte;

    /// @param scales F32, F16 or BF16; U8 for powers of two; F8_E4M3 over `global`
    /// @param global F32 `[1]`, or null
    TileScales(Tensor scales, Tensor global) {
        type = scales.dtype();
        bytes = scales.bytes();
        ofByte = type.isFloat() ? null : new float[256];
        if (type == DType.U8) {
            for (int b = 0; b < 256; b++) {
                ofByte[b] = ScaleKind.power(b);
            }
        } else if (type == DType.F8_E4M3) {
            float divisor = Floats.get(global.bytes(), DType.F32, 0);
            for (int b = 0; b < 256; b++) {
                ofByte[b] = Codes.Floats.E4M3.value(b) / divisor;
            }
        }
    }

    /// Those that a byte can be; null where scales are floats.
    float[] all() {
        return ofByte;
    }

    float get(long tile) {
        return ofByte == null
                ? Floats.get(bytes, type, tile)
                : ofByte[bytes.get(ValueLayout.JAVA_BYTE, tile) & 0xff];
    }
}
