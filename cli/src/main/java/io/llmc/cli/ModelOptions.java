// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.nio.file.Path;
import picocli.CommandLine.Parameters;

/// Mixin: the model to read.
final class ModelOptions {
    @Parameters(
            index = "0",
            paramLabel = "MODEL",
            description = "Directory with config.json and .safetensors files.")
    private Path model;

    Path toPath() {
        return model;
    }
}
