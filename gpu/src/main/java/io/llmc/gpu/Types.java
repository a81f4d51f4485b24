// SPDX-License-Identifier: Apache-2.0
package io.llmc.gpu;

import io.llmc.tensor.DType;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tensor;

/// Element types as kernels number them (`Type` in llmc.cuh).
final class Types {
    private Types() {}

    static int of(DType type) {
        return switch (type) {
            case F32 -> 0;
            case F16 -> 1;
            case BF16 -> 2;
            default -> throw new IllegalArgumentException("no kernel computes in " + type);
        };
    }

    /// How scales are made (`ScaleType` in floats.cuh); plain floats are 0.
    static int of(ScaleKind kind) {
        return switch (kind) {
            case FLOAT -> 0;
            case POWER -> 3;
            case NESTED -> 4;
        };
    }

    /// Of scales (`ScaleType` in floats.cuh).
    static int ofScales(Tensor t) {
        return switch (t.dtype()) {
            case U8 -> 3;
            case F8_E4M3 -> 4;
            default -> of(t.dtype());
        };
    }

    /// Of a cache's pages (`PageType` in pages.cu).
    static int ofPages(DType type) {
        return switch (type) {
            case I8 -> 3;
            case F8_E4M3 -> 4;
            default -> of(type);
        };
    }

    /// Of an operand that may be absent; then it does not matter.
    static int of(Tensor t) {
        return t == null ? 0 : of(t.dtype());
    }
}
