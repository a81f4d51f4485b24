// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// Runs of weights along the input that lie in memory together with their scale, as GGUF stores
/// them.
public enum BlockType {
    /// An F16 scale d, then 32 signed bytes q: `w = d q`.
    Q8_0(32, 34);

    private final int length;
    private final int bytes;

    BlockType(int length, int bytes) {
        this.length = length;
        this.bytes = bytes;
    }

    /// Weights in a block.
    public int length() {
        return length;
    }

    /// Bytes of a block.
    public int bytes() {
        return bytes;
    }

    /// Bytes of a row of `in` weights, the last block of which may have room for more.
    public long rowBytes(long in) {
        return Math.ceilDiv(in, (long) length) * bytes;
    }
}
