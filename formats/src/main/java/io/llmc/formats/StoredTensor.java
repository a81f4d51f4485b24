// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.tensor.BlockType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;

/// A tensor in an open file.
public interface StoredTensor {
    /// Name, type and shape as they are read.
    TensorInfo info();

    OpenFile file();

    /// In the file.
    long bytes();

    /// Whether [#read] hands out the bytes of the file, and not values made of them.
    boolean isMapped();

    /// Bytes of a copy that [#read] makes where it makes one of values that the file has.
    default long copied() {
        return 0;
    }

    /// Its bytes, read-only, row after row, for as long as `arena` lives.
    MemorySegment read(Arena arena);

    /// The blocks in which the file has a matrix; empty for plain values.
    default Optional<BlockType> blocks() {
        return Optional.empty();
    }

    /// The blocks of such a matrix as they are, U8 `[out, bytes of a row]`.
    default StoredTensor packed() {
        throw new IllegalStateException(info() + " is not stored in blocks");
    }
}
