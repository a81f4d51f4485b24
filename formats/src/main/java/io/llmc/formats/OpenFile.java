// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.io.IOException;
import java.nio.channels.FileChannel;
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

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            // Opened for reading: nothing can be lost.
        }
    }
}
