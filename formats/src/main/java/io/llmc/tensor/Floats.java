// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/// Half-width floats: conversion and rounding, to nearest with ties to even, as every reader of
/// checkpoints does it.
public final class Floats {
    private static final ValueLayout.OfFloat F32 =
            ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    private static final ValueLayout.OfShort U16 =
            ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

    private Floats() {}

    public static float bf16ToFloat(short bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    /// The nearest bfloat16; a NaN stays a NaN, what is too large becomes infinite.
    public static short floatToBf16(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) (bits >>> 16 | 0x40);
        }
        return (short) (bits + 0x7fff + (bits >>> 16 & 1) >>> 16);
    }

    public static float roundToBf16(float value) {
        return bf16ToFloat(floatToBf16(value));
    }

    public static float roundToF16(float value) {
        return Float.float16ToFloat(Float.floatToFloat16(value));
    }

    /// `value` as an element of type `dtype` would hold it.
    ///
    /// @throws IllegalArgumentException where `dtype` is not F32, F16 or BF16
    public static float round(float value, DType dtype) {
        return switch (dtype) {
            case F32 -> value;
            case F16 -> roundToF16(value);
            case BF16 -> roundToBf16(value);
            default -> throw notFloat(dtype);
        };
    }

    /// Element `index` of a segment of F32, F16 or BF16.
    public static float get(MemorySegment segment, DType dtype, long index) {
        return switch (dtype) {
            case F32 -> segment.getAtIndex(F32, index);
            case F16 -> Float.float16ToFloat(segment.getAtIndex(U16, index));
            case BF16 -> bf16ToFloat(segment.getAtIndex(U16, index));
            default -> throw notFloat(dtype);
        };
    }

    /// Rounds `value` into element `index` of a segment of F32, F16 or BF16.
    public static void set(MemorySegment segment, DType dtype, long index, float value) {
        switch (dtype) {
            case F32 -> segment.setAtIndex(F32, index, value);
            case F16 -> segment.setAtIndex(U16, index, Float.floatToFloat16(value));
            case BF16 -> segment.setAtIndex(U16, index, floatToBf16(value));
            default -> throw notFloat(dtype);
        }
    }

    private static IllegalArgumentException notFloat(DType dtype) {
        return new IllegalArgumentException("expected F32, F16 or BF16: " + dtype);
    }
}
