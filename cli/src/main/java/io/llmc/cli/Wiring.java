// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.BackendProvider;
import io.llmc.distill.DistillStep;
import io.llmc.distill.SaveTeacherStep;
import io.llmc.evaluation.EvaluateStep;
import io.llmc.evaluation.blame.BlameStep;
import io.llmc.evaluation.latency.LatencyStep;
import io.llmc.evaluation.speculation.SpeculationStep;
import io.llmc.evaluation.tasks.TasksStep;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.sweep.SweepStep;
import io.llmc.prune.PrunePasses;
import io.llmc.quantize.Presets;
import io.llmc.quantize.QuantizePasses;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.Charset;
import java.util.List;
import java.util.Objects;
import java.util.ServiceLoader;
import java.util.stream.Stream;

/// What commands are given: the streams, the methods, the devices. The one place that asks the
/// system.
///
/// @param in what a person says in a conversation
/// @param out results
/// @param err progress, warnings, errors
/// @param columns of the terminal behind `err`; 0 where there is none
/// @param version of llmc
/// @param plans whether jobs are only planned, with what they will take
record Wiring(
        BufferedReader in,
        PrintWriter out,
        PrintWriter err,
        int columns,
        String version,
        boolean plans) {
    private static final String DEVELOPMENT = "development";

    /// For commands that do their work.
    Wiring(BufferedReader in, PrintWriter out, PrintWriter err, int columns, String version) {
        this(in, out, err, columns, version, false);
    }

    /// The same for commands that only plan it.
    Wiring planning() {
        return new Wiring(in, out, err, columns, version, true);
    }

    /// @param output where results go, in the charset of [System#out]
    static Wiring system(OutputStream output) {
        String columns = System.getenv("LLMC_COLUMNS");
        boolean known = columns != null && columns.matches("[0-9]{1,4}");
        return new Wiring(
                new BufferedReader(new InputStreamReader(System.in, inputCharset())),
                writer(output, System.out.charset()),
                writer(System.err, System.err.charset()),
                known ? Integer.parseInt(columns) : 0,
                Objects.requireNonNullElse(
                        Wiring.class.getPackage().getImplementationVersion(), DEVELOPMENT));
    }

    private static Charset inputCharset() {
        String name = System.getProperty("stdin.encoding");
        return name == null || !Charset.isSupported(name)
                ? System.out.charset()
                : Charset.forName(name);
    }

    private static PrintWriter writer(OutputStream stream, Charset charset) {
        return new PrintWriter(new OutputStreamWriter(stream, charset), true);
    }

    /// Every step that a recipe may have.
    List<Step.Factory> steps() {
        return List.of(
                SweepStep.factory(
                        Stream.concat(QuantizePasses.ALL.stream(), PrunePasses.ALL.stream())
                                .toList(),
                        Presets.ALL),
                EvaluateStep.FACTORY,
                BlameStep.FACTORY,
                TasksStep.factory(RecipeFile::options),
                LatencyStep.FACTORY,
                SpeculationStep.FACTORY,
                DistillStep.FACTORY,
                SaveTeacherStep.FACTORY);
    }

    Devices devices() {
        return new Devices(
                ServiceLoader.load(BackendProvider.class).stream()
                        .map(ServiceLoader.Provider::get)
                        .toList());
    }
}
