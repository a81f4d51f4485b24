// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// The finished blocks of a run, one JSON line each, in a file that only ever grows.
///
/// The first line holds the key of the run: recipe, model, data and tool version. A line that a
/// crash cut short is no line.
final class Journal {
    private static final ObjectMapper JSON = new ObjectMapper();

    /// @param checksums CRC-32C of every tensor that the block wrote
    record Entry(int block, SequencedMap<String, Long> checksums, List<ModuleReport> reports) {}

    private record Head(String key) {}

    private final Path file;
    private final List<Entry> entries;

    private Journal(Path file, List<Entry> entries) {
        this.file = file;
        this.entries = entries;
    }

    /// Opens the journal of a run, or begins it.
    ///
    /// @throws UserException where the file belongs to another run
    static Journal open(Path file, String key) {
        try {
            if (!Files.exists(file)) {
                Files.writeString(file, JSON.writeValueAsString(new Head(key)) + "\n");
                return new Journal(file, new ArrayList<>());
            }
            List<String> lines = Files.readAllLines(file);
            if (lines.isEmpty() || !key.equals(key(lines.getFirst()))) {
                throw new UserException(
                        file.getParent() + " holds unfinished work of another command",
                        "delete that directory, or pass --force to discard it");
            }
            return new Journal(file, entries(lines));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String key(String line) {
        try {
            return JSON.readValue(line, Head.class).key();
        } catch (JsonProcessingException e) {
            return null;
        }
    }

    private static List<Entry> entries(List<String> lines) {
        List<Entry> entries = new ArrayList<>();
        for (String line : lines.subList(1, lines.size())) {
            try {
                Entry entry = JSON.readValue(line, new TypeReference<Entry>() {});
                if (entry.block() == entries.size()) {
                    entries.add(entry);
                }
            } catch (JsonProcessingException e) {
                break;
            }
        }
        return entries;
    }

    /// Blocks 0, 1, ... in order.
    List<Entry> entries() {
        return List.copyOf(entries);
    }

    /// Forgets the blocks from `count` on: what they wrote turned out damaged.
    void keep(int count) {
        if (count == entries.size()) {
            return;
        }
        try {
            List<String> lines = Files.readAllLines(file);
            entries.subList(count, entries.size()).clear();
            Path shorter = file.resolveSibling(file.getFileName() + ".tmp");
            Files.write(shorter, lines.subList(0, 1 + count));
            Files.move(shorter, file, java.nio.file.StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    void append(Entry entry) {
        try {
            // A crash may have left half a line behind; the line break ends it.
            String line = "\n" + JSON.writeValueAsString(entry) + "\n";
            Files.writeString(
                    file, line.substring(endsWithNewline() ? 1 : 0), StandardOpenOption.APPEND);
            entries.add(entry);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private boolean endsWithNewline() throws IOException {
        byte[] all = Files.readAllBytes(file);
        return all.length > 0 && all[all.length - 1] == '\n';
    }

    /// Checksums of everything that finished blocks wrote.
    Map<String, Long> checksums() {
        Map<String, Long> all = new LinkedHashMap<>();
        entries.forEach(e -> all.putAll(e.checksums()));
        return all;
    }

    List<ModuleReport> reports() {
        return entries.stream().flatMap(e -> e.reports().stream()).toList();
    }
}
