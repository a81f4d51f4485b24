// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Formats;
import io.llmc.model.arch.Models;
import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/// Mixin: the model to read.
public final class ModelOptions {
    @Parameters(
            index = "0",
            paramLabel = "MODEL",
            description = "Directory with config.json and .safetensors files, or a .gguf file.")
    private Path model;

    @Mixin private TreatAs reading;

    /// Whether its weights are packed; what cannot be read is told later, by who needs it.
    public boolean toPacked() {
        if (!Formats.matches(model)) {
            return false;
        }
        try (Checkpoint checkpoint = Checkpoint.open(model)) {
            return !checkpoint.packedLinears().isEmpty();
        }
    }

    /// What a command's recipe says of it.
    public List<Setting> toSettings() {
        return List.of(new Setting("model", model.toString(), "MODEL"), reading.toSetting());
    }

    public Models toModels() {
        return reading.toModels(model);
    }

    public Path toPath() {
        return model;
    }
}
