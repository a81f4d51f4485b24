// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import java.util.List;
import java.util.stream.Stream;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// Mixin: where and how the result is written.
public final class OutputOptions {
    @Option(
            names = {"-o", "--output"},
            required = true,
            paramLabel = "OUT",
            description = "Directory to make; it gets its name when all is written and verified.")
    private String output;

    @Mixin private SaveOptions save;

    /// Whether all weights are to be plain.
    public boolean toDense() {
        return save.toDense();
    }

    public List<Setting> toSettings() {
        return Stream.concat(
                        Stream.of(new Setting("output", output, "--output")),
                        save.toSettings().stream())
                .toList();
    }
}
