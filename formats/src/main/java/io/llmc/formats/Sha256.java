// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/// SHA-256: the name of a content, whoever holds it and wherever it lies.
public final class Sha256 {
    private static final int PIECE = 1 << 16;

    private final MessageDigest digest;

    public Sha256() {
        try {
            this.digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    /// Of a whole file.
    public static String of(Path file) {
        try (FileChannel in = FileChannel.open(file)) {
            Sha256 sum = new Sha256();
            ByteBuffer piece = ByteBuffer.allocate(PIECE);
            while (in.read(piece.clear()) >= 0) {
                sum.add(piece.flip());
            }
            return sum.hex();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    public static String of(String text) {
        return new Sha256().add(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8))).hex();
    }

    /// The next bytes.
    public Sha256 add(ByteBuffer bytes) {
        digest.update(bytes);
        return this;
    }

    /// 64 digits; to be called once.
    public String hex() {
        return HexFormat.of().formatHex(digest.digest());
    }
}
