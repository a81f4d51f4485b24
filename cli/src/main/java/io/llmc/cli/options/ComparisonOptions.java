// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: a measurement of what was lost.
public final class ComparisonOptions {
    @Option(
            names = "--data",
            paramLabel = "FILE",
            description =
                    "Text to compare the result with the original on, when done: perplexity and"
                            + " divergence.")
    private String data;

    @Option(
            names = "--window",
            paramLabel = "N",
            description = "Tokens in a window of --data (default: 512).")
    private Integer window;

    @Option(
            names = "--max-windows",
            paramLabel = "N",
            description = "Windows of --data at most (default: all).")
    private Integer maxWindows;

    /// Of the step evaluate; none of them is given where nothing is to be measured.
    ///
    /// @param original to compare with
    public List<Setting> toSettings(Path original) {
        return List.of(
                new Setting("data", data, "--data"),
                new Setting("against", data == null ? null : original.toString(), "--data"),
                new Setting("window", window, "--window"),
                new Setting("maxWindows", maxWindows, "--max-windows"));
    }
}
