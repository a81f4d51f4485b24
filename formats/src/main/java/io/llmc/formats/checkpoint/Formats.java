// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.checkpoint;

import io.llmc.formats.CheckpointFormat;
import java.nio.file.Path;
import java.util.List;
import java.util.ServiceLoader;

/// Every format of whole models, in the order in which a path is tried against them: the lines in
/// `META-INF/services`, so that this package need not know theirs. A path that looks like none is
/// opened as the first, safetensors, which says what is missing.
public final class Formats {
    public static final List<CheckpointFormat> ALL =
            ServiceLoader.load(CheckpointFormat.class, Formats.class.getClassLoader()).stream()
                    .map(ServiceLoader.Provider::get)
                    .toList();

    private Formats() {}

    /// Whether a path looks like a model.
    public static boolean matches(Path path) {
        return ALL.stream().anyMatch(format -> format.matches(path));
    }

    static CheckpointFormat of(Path path) {
        return ALL.stream()
                .filter(format -> format.matches(path))
                .findFirst()
                .orElse(ALL.getFirst());
    }
}
