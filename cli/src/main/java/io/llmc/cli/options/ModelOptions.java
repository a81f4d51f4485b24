// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Formats;
import java.nio.file.Path;
import picocli.CommandLine.Parameters;

/// Mixin: the model to read.
public final class ModelOptions {
    @Parameters(
            index = "0",
            paramLabel = "MODEL",
            description = "Directory with config.json and .safetensors files, or a .gguf file.")
    private Path model;

    /// Whether its weights are packed; what cannot be read is told later, by who needs it.
    public boolean toPacked() {
        if (!Formats.matches(model)) {
            return false;
        }
        try (Checkpoint checkpoint = Checkpoint.open(model)) {
            return !checkpoint.packedLinears().isEmpty();
        }
    }

    public Path toPath() {
        return model;
    }
}
