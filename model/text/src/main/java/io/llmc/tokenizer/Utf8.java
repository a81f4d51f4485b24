// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.FileKind;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CoderResult;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/// A file's bytes as text. What is no text is named, with what to do about it.
final class Utf8 {
    private static final int LOOKED_AT = 1 << 12;

    private final Path file;
    private final byte[] bytes;
    private final int start;

    private Utf8(Path file, byte[] bytes) {
        this.file = file;
        this.bytes = bytes;
        this.start = starts(0xef, 0xbb, 0xbf) ? 3 : 0;
    }

    /// @throws UserException where it cannot be read
    /// @throws FormatException where it is of another kind: another encoding, a container, a page
    static Utf8 open(Path file) {
        Utf8 text = new Utf8(file, read(file));
        text.refuseOtherKinds();
        return text;
    }

    private static byte[] read(Path file) {
        try {
            if (Files.isDirectory(file)) {
                throw new UserException(file + ": is a directory, expected a text file", "");
            }
            if (Files.size(file) > Integer.MAX_VALUE - 16) {
                throw new UserException(
                        file + ": larger than 2 GiB",
                        "cut it: a part of it is enough for any use here");
            }
            return Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            throw new UserException(file + ": no such file", "check the name");
        } catch (IOException e) {
            throw new UserException(
                    "cannot read %s: %s".formatted(file, e.getMessage()),
                    "check that you may read it");
        }
    }

    /// The first byte behind a byte order mark.
    int start() {
        return start;
    }

    int end() {
        return bytes.length;
    }

    /// The place of the next line end, or the end.
    int lineEnd(int from) {
        int to = from;
        while (to < bytes.length && bytes[to] != '\n') {
            to++;
        }
        return to;
    }

    /// The first character that is no white space, 0 where there is none.
    char first() {
        for (int i = start; i < bytes.length; i++) {
            if (" \t\r\n".indexOf(bytes[i]) < 0) {
                return (char) (bytes[i] & 0xff);
            }
        }
        return 0;
    }

    /// @throws FormatException at the first byte that is not UTF-8
    String text(int from, int to) {
        CharsetDecoder decoder =
                StandardCharsets.UTF_8
                        .newDecoder()
                        .onMalformedInput(CodingErrorAction.REPORT)
                        .onUnmappableCharacter(CodingErrorAction.REPORT);
        ByteBuffer in = ByteBuffer.wrap(bytes, from, to - from);
        CharBuffer out = CharBuffer.allocate(to - from);
        CoderResult result = decoder.decode(in, out, true);
        if (result.isError()) {
            FileKind.of(file)
                    .ifPresent(kind -> {
                        throw kind.refusal(file, "text");
                    });
            throw new FormatException(
                    file,
                    in.position(),
                    "not UTF-8; convert it first, for example: iconv -f LATIN1 -t UTF-8");
        }
        return out.flip().toString();
    }

    private boolean starts(int... head) {
        boolean is = bytes.length >= head.length;
        for (int i = 0; i < head.length && is; i++) {
            is = (bytes[i] & 0xff) == head[i];
        }
        return is;
    }

    private void refuseOtherKinds() {
        String encoding = encoding();
        if (encoding != null) {
            throw new FormatException(
                    file,
                    "is %1$s, expected UTF-8; convert it first: iconv -f %1$s -t UTF-8"
                            .formatted(encoding));
        }
        int zero = 0;
        while (zero < bytes.length && bytes[zero] != 0) {
            zero++;
        }
        // Texts may begin as some binary files do, but have no zeros.
        boolean binary = zero < bytes.length;
        if (binary || first() == '<' || starts('v', 'e', 'r', 's') || starts('%', 'P', 'D', 'F')) {
            if (bytes.length > 0) {
                FileKind.of(file)
                        .ifPresent(kind -> {
                            throw kind.refusal(file, "text");
                        });
            }
        }
        if (binary) {
            throw new FormatException(file, zero, "a zero byte, which no text has");
        }
    }

    /// By its mark, or by where its zeros are; null for UTF-8 and what is none of these.
    private String encoding() {
        if (starts(0xff, 0xfe, 0, 0) || starts(0, 0, 0xfe, 0xff)) {
            return "UTF-32";
        }
        if (starts(0xff, 0xfe) || starts(0xfe, 0xff)) {
            return "UTF-16";
        }
        int looked = Math.min(bytes.length, LOOKED_AT) / 4 * 4;
        int[] zeros = new int[4];
        for (int i = 0; i < looked; i++) {
            zeros[i % 4] += bytes[i] == 0 ? 1 : 0;
        }
        int most = looked / 4;
        // Blanks and line ends are Latin in a text of any script.
        int some = Math.max(1, most / 20);
        boolean even = zeros[0] > some && zeros[2] > some && zeros[1] + zeros[3] == 0;
        boolean odd = zeros[1] > some && zeros[3] > some && zeros[0] + zeros[2] == 0;
        if (most > 1 && zeros[2] == most && zeros[3] == most && zeros[0] == 0) {
            return "UTF-32LE";
        }
        if (most > 1 && zeros[0] == most && zeros[1] == most && zeros[3] == 0) {
            return "UTF-32BE";
        }
        return even ? "UTF-16BE" : odd ? "UTF-16LE" : null;
    }
}
