// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.evaluation.gate.Gates;
import io.llmc.pipeline.RecipeException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import picocli.CommandLine.Option;

/// Mixin: what a measurement must reach, and the files that say what it did.
public final class ResultOptions {
    @Option(
            names = "--gate",
            paramLabel = "'FIGURE<X'",
            description =
                    "A bound for any figure of --json, with <, <=, > or >=; may be given several"
                            + " times. Where one is missed the exit code is 3.")
    private List<String> gates = new ArrayList<>();

    @Option(
            names = "--junit",
            paramLabel = "FILE",
            description = "Write the gates as JUnit XML, a test case each.")
    private Path junit;

    @Option(
            names = "--markdown",
            paramLabel = "FILE",
            description =
                    "Write the tables and the gates as Markdown, as summaries of CI jobs want.")
    private Path markdown;

    @Option(
            names = "--report",
            paramLabel = "FILE",
            description =
                    "Write a page (.html) with charts, the furthest tokens, and how the model was made;"
                            + " it needs no network.")
    private Path report;

    /// @throws RecipeException where a gate is none, or there is none to report
    public Wanted toWanted() {
        Gates wanted = Gates.parse(gates);
        if (junit != null && wanted.isEmpty()) {
            throw new RecipeException("--junit", "there are no test cases without --gate");
        }
        return new Wanted(wanted, junit, markdown, report);
    }

    /// @param junit null for none; `markdown` and `report` too
    public record Wanted(Gates gates, Path junit, Path markdown, Path report) {
        /// The files that will be written, by the flag that names them.
        public SequencedMap<String, Path> files() {
            SequencedMap<String, Path> files = new LinkedHashMap<>();
            if (junit != null) {
                files.put("--junit", junit);
            }
            if (markdown != null) {
                files.put("--markdown", markdown);
            }
            if (report != null) {
                files.put("--report", report);
            }
            return files;
        }
    }
}
