// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import io.llmc.formats.CheckpointFormat;
import io.llmc.formats.Container;
import io.llmc.formats.FileKind;
import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import java.nio.file.Files;
import java.nio.file.Path;

/// A directory with config.json and safetensors files.
public final class SafetensorsFormat implements CheckpointFormat {
    @Override
    public String name() {
        return "safetensors";
    }

    @Override
    public boolean matches(Path path) {
        return Files.isRegularFile(path.resolve("config.json")) && WeightFiles.has(path);
    }

    @Override
    public Container open(Path directory, String family) {
        if (!Files.isDirectory(directory)) {
            throw Files.exists(directory)
                    ? new UserException(
                            directory + ": is a file, expected a model directory",
                            "name the directory that holds config.json and the .safetensors files")
                    : new UserException(
                            directory + ": no such directory",
                            "download the model first and name the directory, for example: hf"
                                    + " download NAME --local-dir DIRECTORY");
        }
        Path config = directory.resolve("config.json");
        FileKind.requireFile(config);
        if (!Files.isRegularFile(config)) {
            if (Files.isRegularFile(directory.resolve("adapter_config.json"))) {
                throw new UserException(
                        directory + ": holds an adapter, expected a whole model",
                        "name the model that it was made for, or merge the two first");
            }
            throw new UserException(
                    directory + ": no config.json here",
                    "name the directory that holds config.json and the .safetensors files");
        }
        return SafetensorsFiles.open(
                directory,
                HfConfig.read(config).treatedAs(family),
                WeightFiles.find(directory),
                true);
    }
}
