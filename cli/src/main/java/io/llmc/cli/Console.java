// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import io.llmc.cli.options.LogOptions.Verbosity;
import io.llmc.cli.terminal.BarProgress;
import io.llmc.cli.terminal.LineProgress;
import io.llmc.cli.terminal.OnceProgress;
import io.llmc.formats.UserException;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Progress;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/// Where a command's words go: results to standard output, all else to standard error.
record Console(Wiring wiring, Verbosity verbosity) {
    private static final String STANDARD_OUTPUT = "-";

    /// @throws UserException where the JSON could not be written, before any work is done for it
    Console {
        if (verbosity.json() != null) {
            requirePlace(verbosity.json(), "JSON");
        }
    }

    private static void requirePlace(Path file, String what) {
        Path directory = file.toAbsolutePath().getParent();
        if (directory == null || !Files.isDirectory(directory)) {
            throw new UserException(
                    "%s: there is no directory to write it in".formatted(file),
                    "make %s, or name another file".formatted(directory));
        }
        if (Files.isDirectory(file)) {
            throw new UserException(
                    "%s: is a directory, expected a file for %s".formatted(file, what), "");
        }
    }

    boolean verbose() {
        return verbosity.verbose();
    }

    /// A bar on a terminal, lines elsewhere, nothing where that was asked for.
    Progress progress() {
        if (verbosity.quiet()) {
            return Progress.NONE;
        }
        return new OnceProgress(
                wiring.columns() > 0
                        ? new BarProgress(wiring.err(), wiring.columns())
                        : new LineProgress(wiring.err(), System::nanoTime));
    }

    /// Refuses a result file in the place of something that the command reads.
    void requireUnread(Inputs inputs) {
        Path file = verbosity.json();
        if (file != null && !file.toString().equals(STANDARD_OUTPUT)) {
            inputs.requireUnread(file, "--json");
            if (Files.isDirectory(file)) {
                throw new UserException("--json " + file + " is a directory", "name a file");
            }
        }
    }

    /// Shows a part of a result at once, unless standard output is for JSON.
    void piece(String text) {
        if (!isJson()) {
            wiring.out().print(text);
            wiring.out().flush();
        }
    }

    private boolean isJson() {
        return verbosity.json() != null && verbosity.json().toString().equals(STANDARD_OUTPUT);
    }

    /// Refuses a file that could not be written, or that the command reads.
    ///
    /// @param flag that names it
    void requireWritable(Path file, String flag, Inputs inputs) {
        requirePlace(file, flag);
        inputs.requireUnread(file, flag);
    }

    /// A sentence that is no result: to standard error.
    void say(String sentence) {
        wiring.err().println("llmc: " + sentence);
        wiring.err().flush();
    }

    /// Shows a command's result.
    ///
    /// @param text for people, ends in a line break
    /// @param json the same for programs: maps, lists, strings, numbers
    void result(String text, Map<String, ?> json) {
        Path file = verbosity.json();
        boolean standardOutput = isJson();
        if (!standardOutput) {
            wiring.out().print(text);
        }
        if (file != null) {
            write(file, standardOutput, json);
        }
        wiring.out().flush();
    }

    private void write(Path file, boolean standardOutput, Map<String, ?> json) {
        try {
            String text =
                    new ObjectMapper()
                                    .enable(SerializationFeature.INDENT_OUTPUT)
                                    .writeValueAsString(json)
                            + "\n";
            if (standardOutput) {
                wiring.out().print(text);
            } else {
                Files.writeString(file, text);
            }
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
