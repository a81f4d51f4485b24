// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/// Where tests find the repository's own data, and the data that may lie beside a checkout.
public final class TestFiles {
    private TestFiles() {}

    /// The folder that holds `testdata`, above the module that runs the test.
    public static Path root() {
        Path directory = Path.of("").toAbsolutePath();
        while (directory != null && !Files.isDirectory(directory.resolve("testdata"))) {
            directory = directory.getParent();
        }
        if (directory == null) {
            throw new IllegalStateException("no testdata above " + Path.of("").toAbsolutePath());
        }
        return directory;
    }

    public static Path testdata() {
        return root().resolve("testdata");
    }

    /// A path in the folder `shared` beside the checkout; it need not exist.
    public static Path shared(String path) {
        return root().resolveSibling("shared").resolve(path);
    }

    /// Sub-directories whose names begin so, sorted; none where the directory is absent.
    public static Stream<Path> directories(Path parent, String prefix) {
        if (!Files.isDirectory(parent)) {
            return Stream.empty();
        }
        try (Stream<Path> all = Files.list(parent)) {
            return all
                    .filter(p ->
                            Files.isDirectory(p) && p.getFileName().toString().startsWith(prefix))
                    .sorted()
                    .toList()
                    .stream();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
