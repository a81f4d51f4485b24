// SPDX-License-Identifier: Apache-2.0
package io.llmc.tensor;

/// Bytes on some device. A buffer belongs to exactly one arena and is dead once that arena is
/// closed.
public interface Buffer {
    String device();

    long byteSize();

    boolean isAlive();
}
