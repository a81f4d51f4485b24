// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/// What a file really is where it is not what its name says, told by its first bytes.
///
/// @param name with its article: `a git-lfs pointer`
/// @param remedy what to do about it
public record FileKind(String name, String remedy) {
    private static final int HEAD = 512;
    private static final int EXCERPT = 60;
    private static final String AGAIN = "download it again";
    private static final String CONVERT =
            "convert the model to safetensors first: load it with transformers and save it with"
                    + " save_pretrained";
    private static final String RECORDS =
            "data are read from .jsonl files, which the datasets library writes with to_json";
    private static final String UNPACK = "unpack it first";

    /// @param at the byte where `bytes`, in Latin-1, must stand
    private record Magic(int at, String bytes, String name, String remedy) {
        private Magic(String bytes, String name, String remedy) {
            this(0, bytes, name, remedy);
        }
    }

    private static final List<Magic> MAGICS =
            List.of(
                    new Magic("PK\3\4", "a zip file, as PyTorch's .bin and .pt are", CONVERT),
                    new Magic("PK\5\6", "an empty zip file", AGAIN),
                    new Magic(
                            "\u0080\2", "a Python pickle, as PyTorch's .bin and .pt are", CONVERT),
                    new Magic("\u0080\3", "a Python pickle", CONVERT),
                    new Magic("\u0080\4", "a Python pickle", CONVERT),
                    new Magic("\u0080\5", "a Python pickle", CONVERT),
                    new Magic(
                            "GGUF", "a GGUF file", "start from the original model in safetensors"),
                    new Magic(
                            "lmgg", "a GGML file", "start from the original model in safetensors"),
                    new Magic(
                            "tjgg", "a GGML file", "start from the original model in safetensors"),
                    new Magic("\u0089HDF", "an HDF5 file", CONVERT),
                    new Magic("\u0093NUMPY", "a NumPy array", CONVERT),
                    new Magic("\u001f\u008b", "a gzip file", UNPACK),
                    new Magic("BZh", "a bzip2 file", UNPACK),
                    new Magic("\u00fd7zXZ", "an xz file", UNPACK),
                    new Magic("\u0028\u00b5\u002f\u00fd", "a zstd file", UNPACK),
                    new Magic("\4\"M\u0018", "an lz4 file", UNPACK),
                    new Magic("7z\u00bc\u00af", "a 7z file", UNPACK),
                    new Magic("Rar!\u001a", "a rar file", UNPACK),
                    new Magic(257, "ustar", "a tar file", UNPACK),
                    new Magic("PAR1", "a parquet file", RECORDS),
                    new Magic("ARROW1", "an Arrow file", RECORDS),
                    new Magic("\u0089PNG", "a PNG picture", AGAIN),
                    new Magic("\u00ff\u00d8\u00ff", "a JPEG picture", AGAIN),
                    new Magic("GIF8", "a GIF picture", AGAIN),
                    new Magic("%PDF", "a PDF document", AGAIN),
                    new Magic("SQLite format 3", "an SQLite database", AGAIN),
                    new Magic("\u007fELF", "a program", AGAIN),
                    new Magic("MZ\u0090", "a program", AGAIN));

    /// Refuses what is there under a name, but is no file that could be read. Nothing at all under
    /// that name is for the caller to judge.
    ///
    /// @throws UserException naming what it is
    public static void requireFile(Path file) {
        if (Files.isDirectory(file)) {
            throw new UserException(
                    file + ": is a directory, expected a file", "download the model again");
        }
        if (Files.isSymbolicLink(file) && !Files.exists(file)) {
            throw new UserException(
                    "%s: is a link to %s, which is not there".formatted(file, target(file)),
                    "download the model again");
        }
        if (Files.exists(file, LinkOption.NOFOLLOW_LINKS) && !Files.isRegularFile(file)) {
            throw new UserException(
                    file + ": is a device or a pipe, expected a file", "download the model again");
        }
    }

    private static String target(Path link) {
        try {
            return Files.readSymbolicLink(link).toString();
        } catch (IOException e) {
            return "a file";
        }
    }

    /// What a file is that should have been of another kind: a container, a picture, a page of the
    /// web, a pointer to a file. Empty for text, and for what is not known.
    public static Optional<FileKind> of(Path file) {
        return of(head(file));
    }

    /// As [#of(Path)], with JSON and other text as kinds too: for a file that should be binary.
    public static Optional<FileKind> ofBinary(Path file) {
        byte[] head = head(file);
        return of(head).or(() -> text(head));
    }

    private static byte[] head(Path file) {
        try (InputStream in = Files.newInputStream(file)) {
            return in.readNBytes(HEAD);
        } catch (IOException e) {
            throw Json.unreadable(file, e);
        }
    }

    private static Optional<FileKind> of(byte[] head) {
        if (head.length == 0) {
            return Optional.of(new FileKind("empty, 0 bytes", AGAIN));
        }
        String latin = new String(head, StandardCharsets.ISO_8859_1);
        for (Magic magic : MAGICS) {
            if (latin.startsWith(magic.bytes, magic.at)) {
                return Optional.of(new FileKind(magic.name, magic.remedy));
            }
        }
        if (head.length == HEAD && latin.chars().allMatch(c -> c == 0)) {
            return Optional.of(
                    new FileKind(
                            "a file that begins with zeros",
                            "the download was not finished: " + AGAIN));
        }
        String start =
                latin.replaceFirst("^(\u00ef\u00bb\u00bf)?\\s*", "").toLowerCase(Locale.ROOT);
        if (start.startsWith("version https://") && start.contains("\noid ")) {
            return Optional.of(
                    new FileKind("a git-lfs pointer", "run git lfs pull in its directory"));
        }
        if (start.startsWith("# xet version")) {
            return Optional.of(new FileKind("a pointer of git-xet", "download the file itself"));
        }
        if (start.startsWith("<!doctype html") || start.matches("(?s)<(html|head|body)\\b.*")) {
            return Optional.of(
                    new FileKind(
                            "an HTML page",
                            "the server sent a page instead of the file, often since a login is"
                                    + " needed: "
                                    + AGAIN));
        }
        if (start.startsWith("<?xml") || start.startsWith("<error")) {
            return Optional.of(
                    new FileKind(
                            "an XML document",
                            "the server sent a message instead of the file: " + AGAIN));
        }
        return Optional.empty();
    }

    private static Optional<FileKind> text(byte[] head) {
        String whole = new String(head, StandardCharsets.UTF_8);
        // The last character may be cut.
        if (!printable(head) || whole.substring(0, whole.length() - 1).indexOf('\ufffd') >= 0) {
            return Optional.empty();
        }
        String text = whole.strip().replaceAll("\\s+", " ");
        String kind = text.startsWith("{") || text.startsWith("[") ? "JSON" : "text";
        return Optional.of(new FileKind("%s: %s".formatted(kind, excerpt(text)), AGAIN));
    }

    private static String excerpt(String text) {
        int points = text.codePointCount(0, text.length());
        return points <= EXCERPT
                ? text
                : text.substring(0, text.offsetByCodePoints(0, EXCERPT)) + "...";
    }

    /// Whether there is a character of text in every byte.
    private static boolean printable(byte[] head) {
        for (byte b : head) {
            boolean blank = b == '\t' || b == '\n' || b == '\r';
            if (b >= 0 && b < ' ' && !blank || b == 0x7f) {
                return false;
            }
        }
        return true;
    }

    /// The refusal of a file of this kind.
    ///
    /// @param expected with its article: `a safetensors file`
    public FormatException refusal(Path file, String expected) {
        return new FormatException(
                file, "is %s, expected %s: %s".formatted(name, expected, remedy));
    }
}
