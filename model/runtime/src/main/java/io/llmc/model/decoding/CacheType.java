// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.decoding;

import io.llmc.tensor.DType;

/// How cached keys and values are kept, as people choose it.
public enum CacheType {
    F32(DType.F32),
    F16(DType.F16),
    BF16(DType.BF16),
    /// A scale for each token of a head, as [#FP8].
    INT8(DType.I8),
    FP8(DType.F8_E4M3);

    private final DType dtype;

    CacheType(DType dtype) {
        this.dtype = dtype;
    }

    public DType dtype() {
        return dtype;
    }
}
