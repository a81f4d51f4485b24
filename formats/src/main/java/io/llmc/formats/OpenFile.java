// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/// A file whose parts are mapped while it is open.
///
/// Mapped memory ends where the file ends: if that becomes shorter, what lies beyond is a fault,
/// but zeros up to the end of a page. So a reader looks at the length again when it is done.
///
/// @param bytes that it had when it was opened
public record OpenFile(Path path, FileChannel channel, long bytes) implements AutoCloseable {
    public static OpenFile of(Path path) throws IOException {
        FileChannel channel = FileChannel.open(path, StandardOpenOption.READ);
        return new OpenFile(path, channel, channel.size());
    }

    /// As [#of], where a file that cannot be read is the user's concern.
    public static OpenFile open(Path path) {
        try {
            return of(path);
        } catch (IOException e) {
            throw unreadable(path, e);
        }
    }

    /// The refusal of a file or directory that cannot be read.
    public static UserException unreadable(Path path, IOException e) {
        return Json.unreadable(path, e);
    }

    /// @throws FormatException where it became shorter since it was opened
    public void requireWhole() {
        try {
            long now = channel.size();
            if (now < bytes) {
                throw new FormatException(
                        path,
                        "became shorter while it was in use, %,d bytes instead of %,d: put the whole file back, then the same command goes on"
                                .formatted(now, bytes));
            }
        } catch (IOException e) {
            throw Json.unreadable(path, e);
        }
    }

    /// Fills a buffer with the bytes from a place on.
    ///
    /// @throws FormatException where the file became shorter
    public void read(ByteBuffer to, long at) {
        long from = at;
        try {
            while (to.hasRemaining()) {
                int bytes = channel.read(to, from);
                if (bytes < 0) {
                    requireWhole();
                    throw new EOFException("became shorter while it was read");
                }
                from += bytes;
            }
        } catch (IOException e) {
            throw Json.unreadable(path, e);
        }
    }

    /// A part of it, read-only, for as long as `arena` lives.
    public MemorySegment map(long offset, long length, Arena arena) {
        requireWhole();
        try {
            return channel.map(MapMode.READ_ONLY, offset, length, arena);
        } catch (IOException e) {
            throw Json.unreadable(path, e);
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            // Opened for reading: nothing can be lost.
        }
    }
}
