// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.google.errorprone.annotations.MustBeClosed;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.OverlappingFileLockException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;

/// One process at a time works on an output: it locks a file beside it, and the operating system
/// unlocks the file however the process ends. The file holds the process's number.
public final class OutputLock implements AutoCloseable {
    private final Path file;
    private final FileChannel channel;

    private OutputLock(Path file, FileChannel channel) {
        this.file = file;
        this.channel = channel;
    }

    /// Makes the directory around the output, too, where it is missing.
    ///
    /// @param progress is told where a disk has no locks
    /// @throws UserException naming the process that works on the output
    @MustBeClosed
    @SuppressWarnings("MustBeClosed") // closed by close()
    public static OutputLock take(Path output, Progress progress) {
        Path file = new OutputPlace(output).lock();
        try {
            Files.createDirectories(OutputPlace.real(file).getParent());
            while (true) {
                FileChannel channel = locked(output, file, progress);
                if (channel != null) {
                    OutputLock lock = new OutputLock(file, channel);
                    lock.name(ProcessHandle.current().pid());
                    return lock;
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Null where the file has lost its name before it was locked: that lock would keep nobody out.
    private static FileChannel locked(Path output, Path file, Progress progress)
            throws IOException {
        try {
            Files.createFile(file);
        } catch (FileAlreadyExistsException e) {
            // Of another process, or of one that was killed.
        }
        FileChannel channel = null;
        boolean ours = false;
        try {
            Object named = key(file);
            channel = FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE);
            if (!lock(channel, progress)) {
                throw new UserException(
                        "process %s is working on output %s".formatted(read(channel), output),
                        "wait until it ends, or choose another -o");
            }
            ours = named.equals(key(file));
            return ours ? channel : null;
        } catch (NoSuchFileException e) {
            return null;
        } finally {
            if (channel != null && !ours) {
                channel.close();
            }
        }
    }

    private static Object key(Path file) throws IOException {
        Object key = Files.readAttributes(file, BasicFileAttributes.class).fileKey();
        return key == null ? file : key;
    }

    private static boolean lock(FileChannel channel, Progress progress) {
        try {
            return channel.tryLock() != null;
        } catch (OverlappingFileLockException e) {
            // Of another run in this very process.
            return false;
        } catch (IOException e) {
            progress.note(
                    "this disk has no locks (%s): start no second run on one output"
                            .formatted(e.getMessage()));
            return true;
        }
    }

    /// Writes who holds it.
    private void name(long process) throws IOException {
        byte[] text = Long.toString(process).getBytes(StandardCharsets.US_ASCII);
        try {
            channel.truncate(0);
            channel.write(ByteBuffer.wrap(text), 0);
        } catch (IOException e) {
            channel.close();
            throw e;
        }
    }

    private static String read(FileChannel channel) throws IOException {
        ByteBuffer text = ByteBuffer.allocate(20);
        channel.read(text, 0);
        return new String(text.array(), 0, text.position(), StandardCharsets.US_ASCII);
    }

    @Override
    public void close() {
        try (channel) {
            Files.deleteIfExists(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
