// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.function.Supplier;
import java.util.stream.Stream;
import java.util.zip.CRC32C;

/// What a run has found out before its first block, each in a file of the working directory, so
/// that a run that goes on need not find it out again.
///
/// A file is the CRC-32C of the rest, then doubles, little-endian.
final class Notes {
    private static final String SUFFIX = ".note";

    private final Journal journal;
    private final String prefix;

    /// Beside this journal.
    Notes(Journal journal) {
        this(journal, "");
    }

    private Notes(Journal journal, String prefix) {
        this.journal = journal;
        this.prefix = prefix;
    }

    /// The notes of one pass among several.
    Notes of(String pass) {
        return new Notes(journal, prefix + pass + "-");
    }

    /// @param name of letters, digits and dashes
    double[] remember(String name, Supplier<double[]> compute) {
        Path file = journal.directory().resolve(prefix + name + SUFFIX);
        try {
            if (Files.exists(file)) {
                double[] known = decode(Files.readAllBytes(file));
                if (known != null) {
                    return known;
                }
            }
            double[] values = compute.get();
            journal.seal();
            Path half = journal.directory().resolve(prefix + name + SUFFIX + ".tmp");
            Files.write(half, encode(values));
            Files.move(half, file, StandardCopyOption.ATOMIC_MOVE);
            return values;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    void delete() throws IOException {
        try (Stream<Path> files = Files.list(journal.directory())) {
            for (Path file : files.filter(f -> f.toString().endsWith(SUFFIX)).toList()) {
                Files.delete(file);
            }
        }
    }

    private static byte[] encode(double[] values) {
        ByteBuffer buffer =
                ByteBuffer.allocate(8 + 8 * values.length).order(ByteOrder.LITTLE_ENDIAN);
        buffer.position(8);
        buffer.asDoubleBuffer().put(values);
        buffer.putLong(0, checksum(buffer.array()));
        return buffer.array();
    }

    /// Null where the file is not whole.
    private static double[] decode(byte[] bytes) {
        if (bytes.length % 8 != 0 || bytes.length < 8) {
            return null;
        }
        ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        if (buffer.getLong(0) != checksum(bytes)) {
            return null;
        }
        double[] values = new double[bytes.length / 8 - 1];
        buffer.position(8);
        buffer.asDoubleBuffer().get(values);
        return values;
    }

    private static long checksum(byte[] bytes) {
        CRC32C crc = new CRC32C();
        crc.update(bytes, 8, bytes.length - 8);
        return crc.getValue();
    }
}
