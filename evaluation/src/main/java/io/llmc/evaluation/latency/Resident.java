// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation.latency;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;
import java.util.stream.Stream;

/// Memory of this process as the system counts it.
final class Resident {
    private static final Path STATUS = Path.of("/proc/self/status");

    private Resident() {}

    /// The most bytes that were resident so far; empty where the system does not say.
    static OptionalLong peak() {
        try (Stream<String> lines = Files.lines(STATUS)) {
            return lines.filter(l -> l.startsWith("VmHWM:"))
                    .mapToLong(l -> 1024 * Long.parseLong(l.replaceAll("\\D", "")))
                    .findFirst();
        } catch (IOException | java.io.UncheckedIOException _) {
            return OptionalLong.empty();
        }
    }
}
