// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: the text that shows a method what the model's activations are like.
final class CalibrationOptions {
    @Option(
            names = "--calib-data",
            paramLabel = "FILE",
            description = "Text (.txt), or records with \"text\" or \"messages\" (.jsonl).")
    private String data;

    @Option(
            names = "--calib-samples",
            paramLabel = "N",
            description = "Windows of text to use (default: 128).")
    private Integer samples;

    @Option(
            names = "--calib-length",
            paramLabel = "N",
            description = "Tokens in a window (default: 512).")
    private Integer length;

    @Option(
            names = "--calib-order",
            paramLabel = "ORDER",
            description = "Which windows: random, drawn with --seed, or first (default: random).")
    private String order;

    @Option(names = "--seed", paramLabel = "N", description = "Draws the windows (default: 0).")
    private Long seed;

    List<Setting> toSettings() {
        return List.of(
                new Setting("data", data, "--calib-data"),
                new Setting("samples", samples, "--calib-samples"),
                new Setting("length", length, "--calib-length"),
                new Setting("order", order, "--calib-order"),
                new Setting("seed", seed, "--seed"));
    }
}
