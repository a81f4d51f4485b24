// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.nio.file.Path;

/// A file that is not what it claims to be. Always names the file, and the byte where one is known.
public final class FormatException extends RuntimeException {
    public FormatException(Path file, String reason) {
        super(file + ": " + reason);
    }

    public FormatException(Path file, long offset, String reason) {
        super("%s: byte %d: %s".formatted(file, offset, reason));
    }
}
