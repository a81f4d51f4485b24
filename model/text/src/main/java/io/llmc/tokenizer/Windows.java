// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.Sha256;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.OptionalLong;
import java.util.stream.LongStream;

/// Token ids cut into windows of one length.
///
/// @param ids I32 host memory, `count * length` ids, window after window
/// @param count windows
/// @param length tokens of each
public record Windows(MemorySegment ids, int count, int length) {
    public Windows {
        if (ids.byteSize() != 4L * count * length || count < 1 || length < 1) {
            throw new IllegalArgumentException(
                    "%d bytes are not %d windows of %d ids"
                            .formatted(ids.byteSize(), count, length));
        }
    }

    /// Windows over ids in native memory that lives as long as the windows are reachable.
    public static Windows of(int[] ids, int length) {
        MemorySegment copy = java.lang.foreign.Arena.ofAuto().allocate(4L * ids.length, 8);
        MemorySegment.copy(ids, 0, copy, ValueLayout.JAVA_INT, 0, ids.length);
        return new Windows(copy, ids.length / length, length);
    }

    /// These, then others of the same length.
    public Windows and(Windows others) {
        if (others.length != length) {
            throw new IllegalArgumentException(
                    "windows of %d and %d ids".formatted(length, others.length));
        }
        MemorySegment both =
                java.lang.foreign.Arena.ofAuto()
                        .allocate(ids.byteSize() + others.ids.byteSize(), 8);
        MemorySegment.copy(ids, 0, both, 0, ids.byteSize());
        MemorySegment.copy(others.ids, 0, both, ids.byteSize(), others.ids.byteSize());
        return new Windows(both, count + others.count, length);
    }

    /// Some of them.
    ///
    /// @param numbers of windows, in the order that is wanted
    public Windows choose(int... numbers) {
        MemorySegment some =
                java.lang.foreign.Arena.ofAuto().allocate(4L * numbers.length * length, 8);
        for (int i = 0; i < numbers.length; i++) {
            MemorySegment.copy(
                    range(numbers[i], numbers[i] + 1), 0, some, 4L * i * length, 4L * length);
        }
        return new Windows(some, numbers.length, length);
    }

    /// The ids of windows `[from, to)`.
    public MemorySegment range(int from, int to) {
        return ids.asSlice(4L * from * length, 4L * (to - from) * length);
    }

    /// Where the first id is that a model with such a vocabulary does not know.
    public OptionalLong firstOutside(int vocabulary) {
        return LongStream.range(0, (long) count * length)
                .filter(i -> id(i) < 0 || id(i) >= vocabulary)
                .findFirst();
    }

    /// Of all windows, one after another.
    public int id(long at) {
        return ids.getAtIndex(ValueLayout.JAVA_INT, at);
    }

    /// SHA-256 of length and ids, little-endian: names the data in a provenance file.
    public String hash() {
        ByteBuffer head = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(0, length);
        return new Sha256().add(head).add(ids.asByteBuffer()).hex();
    }
}
