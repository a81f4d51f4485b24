// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// Element type of a dense tensor: every dtype of the safetensors format. Packed weights are not a
/// dtype; see [Weight].
public enum DType {
    F64(64),
    F32(32),
    F16(16),
    BF16(16),
    I64(64),
    I32(32),
    I16(16),
    I8(8),
    U64(64),
    U32(32),
    U16(16),
    U8(8),
    BOOL(8),
    C64(64),
    F8_E4M3(8),
    F8_E5M2(8),
    F8_E8M0(8),
    F6_E2M3(6),
    F6_E3M2(6),
    F4(4);

    private final int bits;

    DType(int bits) {
        this.bits = bits;
    }

    public int bits() {
        return bits;
    }

    /// Whole bytes of one element.
    ///
    /// @throws IllegalStateException for an element smaller than a byte
    public int bytes() {
        if (bits % 8 != 0) {
            throw new IllegalStateException(this + " has no whole bytes");
        }
        return bits / 8;
    }

    /// Bytes of `elements` elements in a row.
    ///
    /// @throws ArithmeticException where the elements do not fill whole bytes, or overflow
    public long bytesFor(long elements) {
        long total = Math.multiplyExact(elements, bits);
        if (total % 8 != 0) {
            throw new ArithmeticException(elements + " elements of " + this + " end inside a byte");
        }
        return total / 8;
    }

    /// Whether a linear layer's dense weight may have this type.
    public boolean isFloat() {
        return this == F32 || this == F16 || this == BF16;
    }
}
