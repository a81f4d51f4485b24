// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Set;

/// Texts as token ids. A file is one text; or, where its name ends in `.jsonl`, `.ndjson` or
/// `.json`, records: see [Records]. Nothing is added before, between or after them, and a byte
/// order mark is no part of them.
public final class TextFiles {
    static final Set<String> RECORDS = Set.of("jsonl", "ndjson", "json");
    private static final Set<String> TABLES = Set.of("csv", "tsv");

    private TextFiles() {}

    /// Before any work: the text is there, and can be read more than once.
    ///
    /// @param hint what names it, and how such files are called
    public static void requireFile(Path file, String hint) {
        if (!Files.isRegularFile(file)) {
            String found =
                    Files.isDirectory(file)
                            ? "is a directory, expected a file"
                            : Files.exists(file)
                                    ? "is a pipe or a device, expected a file: texts are read more"
                                            + " than once"
                                    : "no such file";
            throw new UserException(file + ": " + found, hint);
        }
    }

    /// Every id, in order.
    ///
    /// @throws UserException where the file cannot be read or holds no text
    /// @throws FormatException where it is not UTF-8 or of another kind than its name says, or a
    ///   record is none
    public static int[] tokens(Path file, Tokenizer tokenizer) {
        return tokens(file, tokenizer, Integer.MAX_VALUE);
    }

    /// The first ids: at least `enough`, or all; what follows them is not looked at.
    static int[] tokens(Path file, Tokenizer tokenizer, int enough) {
        String kind = extension(file);
        Utf8 text = Utf8.open(file);
        if (TABLES.contains(kind)) {
            throw new UserException(
                    file + ": is a table, and which of its columns is the text is not said",
                    "convert it to a .jsonl file with \"text\" in every line");
        }
        int[] ids =
                RECORDS.contains(kind)
                        ? records(new Records(file, text, tokenizer), tokenizer, enough)
                        : plain(file, text, tokenizer, enough);
        if (ids.length == 0) {
            throw new UserException(
                    file + ": holds no text",
                    "name a .txt file, or a .jsonl file with \"text\" or \"messages\" in every"
                            + " line");
        }
        return ids;
    }

    static String extension(Path file) {
        String name = file.getFileName() == null ? "" : file.getFileName().toString();
        return name.substring(name.lastIndexOf('.') + 1).toLowerCase(Locale.ROOT);
    }

    private static int[] plain(Path file, Utf8 text, Tokenizer tokenizer, int enough) {
        if (Records.areThere(text)) {
            throw new UserException(
                    file
                            + ": holds JSON records with \"text\" or \"messages\", but its name is"
                            + " that of a plain text",
                    "rename it so that it ends in .jsonl, or in .json where it is one array");
        }
        return tokenizer.encodeFirst(text.text(text.start(), text.end()), enough);
    }

    private static int[] records(Records records, Tokenizer tokenizer, int enough) {
        int[] ids = new int[1 << 12];
        int count = 0;
        for (String text = records.next(); text != null; text = records.next()) {
            int[] more = tokenizer.encodeFirst(text, enough - count);
            if (count + more.length > ids.length) {
                ids =
                        Arrays.copyOf(
                                ids, Math.max(count + more.length, ids.length + (ids.length >> 1)));
            }
            System.arraycopy(more, 0, ids, count, more.length);
            count += more.length;
            if (count >= enough) {
                break;
            }
        }
        return Arrays.copyOf(ids, count);
    }

    /// A whole text file, without a byte order mark.
    ///
    /// @throws UserException where it cannot be read
    /// @throws FormatException where it is not UTF-8
    public static String read(Path file) {
        Utf8 text = Utf8.open(file);
        return text.text(text.start(), text.end());
    }
}
