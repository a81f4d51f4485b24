// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import java.nio.file.Path;
import java.util.List;

/// Every format of whole models. A path that looks like none is opened as the first, which says
/// what is missing.
public final class Formats {
    public static final List<CheckpointFormat> ALL = List.of(new SafetensorsFormat());

    private Formats() {}

    static CheckpointFormat of(Path path) {
        return ALL.stream()
                .filter(format -> format.matches(path))
                .findFirst()
                .orElse(ALL.getFirst());
    }
}
