// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.evaluation.tasks.TaskLibrary;

/// Task files as the command line reads them, for tests of other packages.
public final class TaskFiles {
    private TaskFiles() {}

    public static TaskLibrary library() {
        return new TaskLibrary(RecipeFile::options);
    }
}
