// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.nio.file.Path;
import java.util.List;

/// Reports of models that nothing was measured on, for tests of other packages.
public final class Pages {
    private Pages() {}

    public static String of(Path model) {
        return new ReportPage(model, "test").text(List.of(), List.of());
    }
}
