// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/// Where an output goes, and the names beside it that llmc works under.
///
/// @param given as the user wrote it
record OutputPlace(Path given) {
    /// As the Linux kernel.
    private static final int MAX_LINKS = 40;

    /// The directory itself: where a link leads, what dots mean.
    Path target() {
        Path name = given.getFileName();
        boolean plain =
                name != null
                        && !List.of("", ".", "..").contains(name.toString())
                        && !Files.isSymbolicLink(given);
        return plain ? given : real(given);
    }

    /// Where the output grows.
    Path work() {
        return beside("partial");
    }

    /// Where what it replaces waits for the end of the swap.
    Path old() {
        return beside("old");
    }

    Path lock() {
        return beside("lock");
    }

    Path beside(String what) {
        Path target = target();
        return target.resolveSibling(target.getFileName() + ".llmc-" + what);
    }

    /// The path with every link and dot resolved, however much of it exists.
    static Path real(Path path) {
        return real(path, MAX_LINKS);
    }

    private static Path real(Path path, int links) {
        Path absolute = path.toAbsolutePath();
        try {
            return absolute.toRealPath();
        } catch (IOException e) {
            Path parent = absolute.getParent();
            if (parent == null) {
                return absolute;
            }
            Path base = real(parent, links);
            String name = absolute.getFileName().toString();
            return switch (name) {
                case "." -> base;
                case ".." -> base.getParent() == null ? base : base.getParent();
                default -> led(base.resolve(name), links);
            };
        }
    }

    /// Where a link leads, though nothing is there.
    private static Path led(Path path, int links) {
        if (links == 0 || !Files.isSymbolicLink(path)) {
            return path;
        }
        try {
            return real(path.resolveSibling(Files.readSymbolicLink(path)), links - 1);
        } catch (IOException e) {
            return path;
        }
    }

    /// @throws UserException where no directory can be made
    void requirePossible() {
        // What it led to may have been moved aside by a run that was killed then.
        if (Files.isSymbolicLink(given) && !Files.exists(given) && !Files.exists(old())) {
            throw refused("is a link to nothing", "remove it, or choose another -o");
        }
        if (Files.exists(given) && !Files.isDirectory(given)) {
            throw refused("is a file", "choose another -o: a directory is made there");
        }
        Path real = real(given);
        if (real(Path.of("")).startsWith(real)) {
            throw refused("is the working directory, or holds it", "choose another -o");
        }
        for (Path up = real.getParent(); up != null; up = up.getParent()) {
            if (Files.exists(up) && !Files.isDirectory(up)) {
                throw refused("lies below " + up + ", which is a file", "choose another -o");
            }
        }
    }

    /// @throws UserException where this is, holds or lies inside something that is read
    void requireApart(Inputs inputs) {
        for (Inputs.Input input : inputs.all()) {
            Path real = real(given);
            Path source = real(input.path());
            if (real.equals(source)) {
                throw taken("is " + input.role());
            }
            if (real.startsWith(source)) {
                throw taken("lies inside " + input.role() + ", " + input.path());
            }
            require(input, source);
            for (Path file : Files.exists(source) ? Inputs.inside(source) : List.<Path>of()) {
                require(input, real(file));
            }
        }
    }

    private void require(Inputs.Input input, Path source) {
        if (source.startsWith(real(given))) {
            throw taken("holds %s, %s".formatted(input.role(), source));
        }
        for (Path own : List.of(work(), old(), lock())) {
            if (source.startsWith(real(own))) {
                throw taken(
                        "is worked on in %s, which holds %s, %s"
                                .formatted(own, input.role(), source));
            }
        }
    }

    private UserException taken(String what) {
        return refused(what, "choose another -o: what is read is never replaced");
    }

    UserException refused(String what, String hint) {
        return new UserException("output %s %s".formatted(given, what), hint);
    }

    /// Writes a file's or a directory's content and names through to the disk.
    static void sync(Path path) {
        try (var channel = java.nio.channels.FileChannel.open(path)) {
            channel.force(true);
        } catch (IOException e) {
            if (!Files.isDirectory(path)) {
                throw new UncheckedIOException(e);
            }
            // Not every system opens directories.
        }
    }
}
