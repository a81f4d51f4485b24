// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.zip.CRC32C;

/// What a run has finished, one JSON line each, in a file that only ever grows: the command, the
/// content of what it reads, its blocks, at last its result.
///
/// A line holds its own CRC-32C. One that a crash cut short, or that is anything else than what was
/// written, is no line. Content is noted before the first thing that a later run could go on from;
/// without it, nothing is finished.
public final class Journal {
    static final String FILE = "journal.jsonl";

    private static final JsonMapper JSON =
            JsonMapper.builder()
                    .enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
                    .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
                    .enable(DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES)
                    .build();

    /// @param checksums CRC-32C of every tensor that the block wrote
    public record Entry(
            int block, SequencedMap<String, Long> checksums, List<ModuleReport> reports) {}

    /// Who writes a journal: two runs with one command may share it.
    ///
    /// @param command SHA-256 of what a recipe asks for, and of the step in it
    public record Head(String command, String version) {}

    private final Path file;
    private final List<Entry> entries = new ArrayList<>();
    private Head head;
    private Inputs inputs;
    private Map<String, String> content;
    private JsonNode result;

    private Journal(Path file) {
        this.file = file;
    }

    /// The journal of a directory; empty where there is none. Its head is empty where the first
    /// line is none.
    static Optional<Journal> read(Path directory) {
        Path file = directory.resolve(FILE);
        if (!Files.isRegularFile(file)) {
            return Optional.empty();
        }
        Journal journal = new Journal(file);
        for (JsonNode line : journal.lines()) {
            journal.take(line);
        }
        return Optional.of(journal);
    }

    /// Begins a journal in the place of any other.
    static Journal begin(Path directory, RunKey key) {
        Journal journal = new Journal(directory.resolve(FILE));
        journal.head = key.head();
        journal.inputs = key.inputs();
        try {
            Files.writeString(journal.file, line(Map.of("head", key.head())));
            return journal;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private List<JsonNode> lines() {
        try {
            // A line that is no UTF-8 has another checksum.
            String text = new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
            return text.lines().map(Journal::parse).filter(Objects::nonNull).toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Takes a line, which must be in its place.
    private void take(JsonNode line) {
        try {
            if (line.has("head") && head == null) {
                head = JSON.treeToValue(line.get("head"), Head.class);
            } else if (line.has("content") && head != null) {
                content = JSON.convertValue(line.get("content"), new TypeReference<>() {});
            } else if (line.has("block") && content != null) {
                Entry entry = JSON.treeToValue(line, Entry.class);
                if (entry.block() == entries.size()) {
                    entries.add(entry);
                }
            } else if (line.has("result") && content != null) {
                result = line.get("result");
            }
        } catch (JsonProcessingException | IllegalArgumentException e) {
            // Written by another version: no line.
        }
    }

    private static String line(Object value) {
        try {
            String json = JSON.writeValueAsString(value);
            return before(json) + json + "}\n";
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private static String before(String json) {
        CRC32C crc = new CRC32C();
        crc.update(json.getBytes(StandardCharsets.UTF_8));
        return "{\"crc\":\"%08x\",\"line\":".formatted(crc.getValue());
    }

    /// Null where this is not what [#line] has made.
    private static JsonNode parse(String line) {
        int from = before("").length();
        if (line.length() <= from) {
            return null;
        }
        String json = line.substring(from, line.length() - 1);
        try {
            return line.equals(before(json) + json + "}") ? JSON.readTree(json) : null;
        } catch (JsonProcessingException e) {
            return null;
        }
    }

    Optional<Head> head() {
        return Optional.ofNullable(head);
    }

    /// Where it lies, and with it what it tells of.
    public Path directory() {
        return file.getParent();
    }

    /// Whether there may be something that a later run goes on from.
    boolean isSealed() {
        return content != null;
    }

    /// Goes on where the inputs are what they were.
    ///
    /// @throws io.llmc.formats.UserException naming what differs
    Journal continuing(Inputs now) {
        now.requireSame(content, directory());
        inputs = now;
        return this;
    }

    /// Notes the content of what is read; to be called before anything is kept that a later run
    /// goes on from.
    public synchronized void seal() {
        if (content == null) {
            SequencedMap<String, String> print = inputs.fingerprint();
            write(Map.of("content", print), false);
            content = print;
        }
    }

    /// Blocks 0, 1, ... in order.
    public List<Entry> entries() {
        return List.copyOf(entries);
    }

    /// Forgets the blocks from `count` on: what they wrote turned out damaged.
    public void keep(int count) {
        if (count == entries.size()) {
            return;
        }
        entries.subList(count, entries.size()).clear();
        StringBuilder text = new StringBuilder();
        text.append(line(Map.of("head", head))).append(line(Map.of("content", content)));
        entries.forEach(entry -> text.append(line(entry)));
        try {
            Path shorter = file.resolveSibling(FILE + ".tmp");
            Files.writeString(shorter, text);
            Files.move(shorter, file, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    public void append(Entry entry) {
        seal();
        write(entry, false);
        entries.add(entry);
    }

    /// Notes that everything is written, synced and verified.
    void finish(Object found) {
        seal();
        write(Map.of("result", found), true);
        result = JSON.valueToTree(found);
    }

    /// What [#finish] noted; empty before.
    ///
    /// @param type that it can be read as
    public <T> Optional<T> result(TypeReference<T> type) {
        return Optional.ofNullable(result).map(r -> JSON.convertValue(r, type));
    }

    boolean isFinished() {
        return result != null;
    }

    private void write(Object value, boolean sync) {
        try (FileChannel out =
                FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            ByteBuffer last = ByteBuffer.allocate(1);
            out.read(last, Math.max(0, out.size() - 1));
            // A crash may have left half a line behind; the line break ends it.
            String line = (last.get(0) == '\n' ? "" : "\n") + line(value);
            ByteBuffer bytes = ByteBuffer.wrap(line.getBytes(StandardCharsets.UTF_8));
            out.position(out.size());
            while (bytes.hasRemaining()) {
                out.write(bytes);
            }
            if (sync) {
                out.force(true);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Checksums of everything that finished blocks wrote.
    public Map<String, Long> checksums() {
        Map<String, Long> all = new LinkedHashMap<>();
        entries.forEach(e -> all.putAll(e.checksums()));
        return all;
    }

    public List<ModuleReport> reports() {
        return entries.stream().flatMap(e -> e.reports().stream()).toList();
    }
}
