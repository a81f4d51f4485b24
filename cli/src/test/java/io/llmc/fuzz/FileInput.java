// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/// A case of a few files, written over those of the case before.
///
/// @param files by name, as `a` or `b/a`
record FileInput(Map<String, byte[]> files) implements Kind.Input {
    static FileInput of(String name, byte[] bytes) {
        return new FileInput(Map.of(name, bytes));
    }

    static FileInput of(String name, String text) {
        return of(name, Texts.utf8(text));
    }

    @Override
    public void save(Path directory) throws IOException {
        for (Map.Entry<String, byte[]> file : files.entrySet()) {
            Path path = directory.resolve(file.getKey());
            if (file.getKey().contains("/")) {
                Files.createDirectories(path.getParent());
            }
            Files.write(path, file.getValue());
        }
    }
}
