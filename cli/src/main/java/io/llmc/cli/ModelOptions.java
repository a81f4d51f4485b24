// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.formats.Checkpoint;
import java.nio.file.Files;
import java.nio.file.Path;
import picocli.CommandLine.Parameters;

/// Mixin: the model to read.
final class ModelOptions {
    @Parameters(
            index = "0",
            paramLabel = "MODEL",
            description = "Directory with config.json and .safetensors files.")
    private Path model;

    /// Whether its weights are packed; what cannot be read is told later, by who needs it.
    boolean toPacked() {
        if (!Files.isRegularFile(model.resolve("config.json"))) {
            return false;
        }
        try (Checkpoint checkpoint = Checkpoint.open(model)) {
            return !checkpoint.packedLinears().isEmpty();
        }
    }

    Path toPath() {
        return model;
    }
}
