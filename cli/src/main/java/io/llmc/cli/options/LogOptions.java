// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import java.nio.file.Path;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;

/// Mixin: how much to say, and where; every command has it.
public final class LogOptions {
    @Option(
            names = {"-v", "--verbose"},
            scope = ScopeType.INHERIT,
            order = 100,
            description = "Show more: every layer, every tensor.")
    private boolean verbose;

    @Option(
            names = {"-q", "--quiet"},
            scope = ScopeType.INHERIT,
            order = 101,
            description = "Show no progress, only the result.")
    private boolean quiet;

    @Option(
            names = "--json",
            scope = ScopeType.INHERIT,
            order = 102,
            paramLabel = "FILE",
            description =
                    "Also write the result as JSON; - for standard output instead of the table.")
    private Path json;

    @Option(
            names = "--stacktrace",
            scope = ScopeType.INHERIT,
            order = 103,
            description = "Show the trace of any error.")
    private boolean stacktrace;

    public Verbosity toVerbosity() {
        return new Verbosity(verbose, quiet, json, stacktrace);
    }

    /// @param json null for none
    public record Verbosity(boolean verbose, boolean quiet, Path json, boolean stacktrace) {
        static final Verbosity NORMAL = new Verbosity(false, false, null, false);
    }
}
