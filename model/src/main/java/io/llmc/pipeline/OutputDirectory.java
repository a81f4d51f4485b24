// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/// An output that grows in a working directory beside it, and gets its name by one rename when it
/// is whole.
///
/// @param force replaces an output that exists, and discards unfinished work of other commands
public record OutputDirectory(Path output, boolean force) {
    private static final String JOURNAL = "journal.jsonl";

    /// @throws UserException where something is there that must not be replaced
    public void requireFree() {
        if (!Files.exists(output) || force) {
            return;
        }
        try (Stream<Path> entries =
                Files.isDirectory(output) ? Files.list(output) : Stream.of(output)) {
            if (entries.findAny().isPresent()) {
                throw new UserException(
                        "output " + output + " exists and is not empty",
                        "choose another -o, or pass --force to replace it");
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    public Path work() {
        return output.resolveSibling(output.getFileName() + ".llmc-partial");
    }

    /// Makes the working directory, or goes on in the one that a run with the same key has left.
    ///
    /// @throws UserException where it belongs to another run
    public void prepare(String key) {
        try {
            if (force && Files.exists(work()) && !Files.exists(work().resolve(JOURNAL))) {
                deleteTree(work());
            }
            Files.createDirectories(work());
            if (force) {
                try {
                    journal(key);
                } catch (UserException e) {
                    deleteTree(work());
                    Files.createDirectories(work());
                }
            }
            journal(key);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Whether a run has left unfinished work here, whatever its key.
    public boolean isBegun() {
        return Files.exists(work().resolve(JOURNAL));
    }

    Journal journal(String key) {
        return Journal.open(work().resolve(JOURNAL), key);
    }

    /// Copies what must travel with a model.
    ///
    /// @return the originals
    public List<Path> copySideFiles(Checkpoint c) {
        try {
            for (Path file : c.sideFiles()) {
                Files.copy(
                        file,
                        work().resolve(file.getFileName()),
                        StandardCopyOption.REPLACE_EXISTING);
            }
            return c.sideFiles();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Gives the working directory the output's name.
    public void publish() {
        try {
            Files.delete(work().resolve(JOURNAL));
            if (Files.exists(output)) {
                if (Files.isDirectory(output)) {
                    deleteTree(output);
                } else {
                    Files.delete(output);
                }
            }
            Files.move(work(), output, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    public List<Path> weightFiles() {
        try (Stream<Path> files = Files.list(output)) {
            return files.filter(f -> f.toString().endsWith(".safetensors")).sorted().toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Deletes a directory with all that is in it, if it is there.
    public static void deleteTree(Path root) {
        if (!Files.exists(root)) {
            return;
        }
        try (Stream<Path> tree = Files.walk(root)) {
            for (Path path : tree.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(path);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
