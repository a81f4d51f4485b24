// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import io.llmc.formats.FormatException;
import io.llmc.formats.OpenFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/// Reads the head of a GGUF file from its beginning: every length is compared with the bytes that
/// are left before anything of that length is made.
final class GgufInput {
    /// Ten times what the metadata of the largest published vocabularies take.
    private static final long MAX_HEAD = 100_000_000;

    private final OpenFile file;
    private final long end;
    private final ByteBuffer buffer =
            ByteBuffer.allocate(1 << 16).order(ByteOrder.LITTLE_ENDIAN).limit(0);

    /// The byte of the file behind the buffer.
    private long next;

    GgufInput(OpenFile file) {
        this.file = file;
        this.end = Math.min(file.bytes(), MAX_HEAD);
    }

    /// Bytes read so far.
    long position() {
        return next - buffer.remaining();
    }

    byte u8() {
        return need(1).get();
    }

    short u16() {
        return need(2).getShort();
    }

    int u32() {
        return need(4).getInt();
    }

    long u64() {
        return need(8).getLong();
    }

    /// A number of things of at least `least` bytes each, all of which are still to come.
    int count(String what, int least) {
        long count = u64();
        if (count < 0 || count > (end - position()) / least) {
            throw wrong(
                    "%s %s are more than the file, or a head of %,d bytes, can hold"
                            .formatted(Long.toUnsignedString(count), what, MAX_HEAD));
        }
        return (int) count;
    }

    String text() {
        byte[] bytes = new byte[count("bytes of text", 1)];
        int part;
        for (int at = 0; at < bytes.length; at += part) {
            part = Math.min(bytes.length - at, buffer.capacity());
            need(part).get(bytes, at, part);
        }
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private ByteBuffer need(int bytes) {
        if (bytes > end - position()) {
            throw wrong("the head goes on beyond the end of the file: download it again");
        }
        if (buffer.remaining() < bytes) {
            buffer.compact();
            int more = (int) Math.min(buffer.remaining(), end - next);
            file.read(buffer.limit(buffer.position() + more), next);
            next += more;
            buffer.flip();
        }
        return buffer;
    }

    FormatException wrong(String reason) {
        return new FormatException(file.path(), position(), reason);
    }
}
