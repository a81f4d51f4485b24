// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// A tensor in an open file.
public interface StoredTensor {
    /// Name, type and shape as they are read.
    TensorInfo info();

    OpenFile file();

    /// Whether [#read] hands out the bytes of the file, and not values made of them.
    boolean isMapped();

    /// Its bytes, read-only, row after row, for as long as `arena` lives.
    MemorySegment read(Arena arena);
}
