// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/// Checkpoints of other tools, in the folder `shared` beside the checkout; not part of the
/// repository.
final class Oracles {
    private Oracles() {}

    /// @param relative as `formats/gptqmodel`
    static Path require(String relative) {
        Path found = find(relative);
        assumeTrue(found != null, () -> "no shared/oracles/" + relative + " beside the checkout");
        return found;
    }

    /// Null where absent.
    private static Path find(String relative) {
        for (Path dir = Path.of("").toAbsolutePath(); dir != null; dir = dir.getParent()) {
            Path candidate = dir.resolve("shared/oracles").resolve(relative);
            if (Files.exists(candidate)) {
                return candidate;
            }
        }
        return null;
    }

    /// The directories under `relative`; empty where the oracles are absent.
    static List<Path> directories(String relative) {
        Path root = find(relative);
        if (root == null) {
            return List.of();
        }
        try (Stream<Path> files = Files.list(root)) {
            return files.filter(Files::isDirectory).sorted().toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
