// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.backend.OutOfDeviceMemoryException;
import io.llmc.cli.options.LogOptions;
import io.llmc.cli.terminal.Spelling;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.pipeline.RecipeException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.IParameterExceptionHandler;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.UnmatchedArgumentException;

/// The one place where errors become sentences and exit codes.
record ErrorHandler(Wiring wiring, LogOptions log)
        implements IExecutionExceptionHandler, IParameterExceptionHandler {
    private static final int LONGEST = 2000;

    @Override
    public int handleExecutionException(Exception e, CommandLine command, ParseResult parsed) {
        return report(e, command.getCommandSpec().qualifiedName());
    }

    @Override
    public int handleParseException(ParameterException e, String[] args) {
        CommandLine command = e.getCommandLine();
        say(e.getMessage());
        UnmatchedArgumentException.printSuggestions(e, wiring.err());
        hint(command.getCommandSpec().qualifiedName());
        trace(e, false);
        wiring.err().flush();
        return ExitCode.USAGE;
    }

    /// @param command for the line that says where help is
    int report(Throwable e, String command) {
        int code =
                switch (shrunk(e).orElse(e)) {
                    case UserException user ->
                            failed(
                                    spelled(user.getMessage(), command),
                                    spelled(user.hint(), command));
                    case FormatException format ->
                            failed(spelled(format.getMessage(), command), "");
                    case OutOfDeviceMemoryException memory ->
                            failed(
                                    "out of memory: " + memory.getMessage(),
                                    "a smaller --calib-length, --window, --length or --batch needs"
                                            + " less; a GPU's memory ends at --memory, and --device cpu"
                                            + " has the host's");
                    case UncheckedIOException io -> failed(sentence(io), "");
                    case IOException io -> failed(sentence(io), "");
                    case InvalidPathException path ->
                            failed(
                                    "%s: no file can be called so here: %s"
                                            .formatted(path.getInput(), path.getReason()),
                                    "where it holds more than ASCII, set LC_ALL to a locale with"
                                            + " UTF-8, as C.UTF-8");
                    case InternalError fault when isFault(fault) ->
                            failed(
                                    "a file became shorter, or its disk failed, while it was in"
                                            + " use",
                                    "put the whole file back, then the same command goes on");
                    case OutOfMemoryError heap ->
                            failed(
                                    "out of Java heap: " + heap.getMessage(),
                                    "set LLMC_JAVA_OPTS=-Xmx4g, or another size");
                    case RecipeException recipe -> {
                        say(spelled(recipe.getMessage(), command));
                        hint(command);
                        yield ExitCode.USAGE;
                    }
                    default -> {
                        say("this is a bug: " + e);
                        say(
                                "please report it with the command, the lines below, and llmc"
                                        + " --version");
                        yield ExitCode.BUG;
                    }
                };
        trace(e, code == ExitCode.BUG);
        wiring.err().flush();
        return code;
    }

    /// What a model said when it was closed: which of its files became shorter. Whoever was reading
    /// that file then failed first, with a fault.
    private static Optional<Throwable> shrunk(Throwable e) {
        return causes(e).anyMatch(ErrorHandler::isFault)
                ? causes(e)
                        .flatMap(cause -> Stream.of(cause.getSuppressed()))
                        .filter(FormatException.class::isInstance)
                        .findFirst()
                        .or(() -> causes(e).filter(ErrorHandler::isFault).findFirst())
                : Optional.empty();
    }

    private static Stream<Throwable> causes(Throwable e) {
        return Stream.iterate(e, Objects::nonNull, Throwable::getCause);
    }

    /// How Java calls it where mapped memory is gone.
    private static boolean isFault(Throwable e) {
        return e instanceof InternalError
                && e.getMessage() != null
                && e.getMessage().contains("unsafe memory access");
    }

    /// Who runs a recipe looks for a key; everybody else for a flag.
    private static String spelled(String text, String command) {
        return command.endsWith(" run") ? Spelling.asKeys(text) : Spelling.asFlags(text);
    }

    private int failed(String message, String hint) {
        say(hint.isEmpty() ? message : message + "; " + hint);
        return ExitCode.FAILED;
    }

    private void say(String line) {
        wiring.err().println("llmc: " + printable(line));
    }

    /// What strangers' files and names put into a message stays on its line, and commands no
    /// terminal.
    private static String printable(String message) {
        StringBuilder line = new StringBuilder();
        message.codePoints()
                .limit(LONGEST)
                .forEach(c -> {
                    switch (Character.getType(c)) {
                        case Character.CONTROL,
                                Character.FORMAT,
                                Character.SURROGATE,
                                Character.LINE_SEPARATOR,
                                Character.PARAGRAPH_SEPARATOR ->
                                line.append("\\u%04x".formatted(c));
                        default -> line.appendCodePoint(c);
                    }
                });
        return message.length() > LONGEST ? line + "..." : line.toString();
    }

    private void hint(String command) {
        wiring.err().println("see " + command + " --help");
    }

    private void trace(Throwable e, boolean always) {
        if (always || log.toVerbosity().stacktrace()) {
            e.printStackTrace(wiring.err());
        }
    }

    private static String sentence(UncheckedIOException e) {
        IOException cause = e.getCause();
        boolean wrapped = e.getMessage() == null || e.getMessage().equals(cause.toString());
        return wrapped ? sentence(cause) : e.getMessage();
    }

    private static String sentence(IOException e) {
        return switch (e) {
            case NoSuchFileException missing -> missing.getFile() + ": no such file or directory";
            case FileNotFoundException missing -> missing.getMessage();
            case AccessDeniedException denied -> denied.getFile() + ": permission denied";
            case FileAlreadyExistsException there -> there.getFile() + ": exists already";
            case FileSystemException other -> other.getMessage();
            default -> "reading or writing failed: " + e.getMessage();
        };
    }
}
