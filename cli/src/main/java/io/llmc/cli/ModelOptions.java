// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.formats.Checkpoint;
import io.llmc.formats.Formats;
import java.nio.file.Path;
import picocli.CommandLine.Parameters;

/// Mixin: the model to read.
final class ModelOptions {
    @Parameters(
            index = "0",
            paramLabel = "MODEL",
            description = "Directory with config.json and .safetensors files, or a .gguf file.")
    private Path model;

    /// Whether its weights are packed; what cannot be read is told later, by who needs it.
    boolean toPacked() {
        if (!Formats.matches(model)) {
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
