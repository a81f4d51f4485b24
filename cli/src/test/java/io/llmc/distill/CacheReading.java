// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import io.llmc.distill.teacher.TeacherCache;
import java.nio.file.Path;

/// Reads a cache as a distillation does.
public final class CacheReading {
    private CacheReading() {}

    /// Opens it, and reads every window.
    public static void verify(Path directory) {
        try (TeacherCache cache = TeacherCache.open(directory)) {
            cache.verify();
        }
    }
}
