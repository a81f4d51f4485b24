// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.pipeline.RecipeException;
import java.nio.file.Path;
import java.util.Optional;
import picocli.CommandLine.Option;

/// Mixin: a model's own output, to compare with any other implementation.
public final class LogitsOptions {
    @Option(
            names = "--input-ids",
            paramLabel = "FILE",
            description = "A .safetensors file with a tensor input_ids [batch, tokens].")
    private Path inputIds;

    @Option(
            names = "--save-logits",
            paramLabel = "FILE",
            description =
                    "Write a .safetensors file with a tensor logits [batch, tokens, vocabulary].")
    private Path saveLogits;

    public Optional<Files> toFiles() {
        if ((inputIds == null) != (saveLogits == null)) {
            throw new RecipeException(
                    inputIds == null ? "--save-logits" : "--input-ids",
                    "--input-ids and --save-logits go together");
        }
        return inputIds == null ? Optional.empty() : Optional.of(new Files(inputIds, saveLogits));
    }

    public record Files(Path inputIds, Path saveLogits) {}
}
