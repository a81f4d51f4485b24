// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.pipeline.Journal.Head;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/// An output that grows in a working directory beside it, and gets its name by a rename when it is
/// whole and on the disk. What had the name before is moved aside first and deleted last.
///
/// The journal goes along, so that a run that was killed at any time finds what it had finished: in
/// the working directory, or under the output's name until [#conclude].
///
/// @param force replaces an output that llmc has made, and discards unfinished work of other
///   commands
public record OutputDirectory(Path output, boolean force) {
    private static final String TOKENIZER = "tokenizer.json";
    private static final ObjectMapper JSON = new ObjectMapper();

    private OutputPlace place() {
        return new OutputPlace(output);
    }

    private Path target() {
        return place().target();
    }

    private Path old() {
        return place().old();
    }

    public Path work() {
        return place().work();
    }

    /// The directory of a step on the way to this output.
    public OutputDirectory beside(String what) {
        return new OutputDirectory(place().beside(what), force);
    }

    /// @throws UserException where no directory can be made, or something that is read is in the
    ///   way
    public void requirePlace(Inputs inputs) {
        place().requirePossible();
        place().requireApart(inputs);
    }

    /// Refuses what [#begin] would refuse, and changes nothing.
    ///
    /// @throws UserException where an input, something that llmc has not made or unfinished work of
    ///   another command is in the way
    public void requireUsable(RunKey key) {
        requirePlace(key.inputs());
        if (finished(key).isEmpty()) {
            requireReplaceable(key.head());
        }
        requireOwn(work());
        requireOwn(old());
        Journal.read(work()).ifPresent(left -> requireSame(left, key.head()));
    }

    private void requireReplaceable(Head head) {
        if (isMissingOrEmpty(target())) {
            return;
        }
        boolean ours = isMadeByLlmc(target());
        if (force && !ours) {
            throw place().refused(
                            "is not replaced, because llmc has not made it: it has no llmc.json",
                            "choose another -o, or remove it yourself");
        }
        if (!force) {
            Journal.read(target()).ifPresent(left -> requireSame(left, head));
            throw new UserException(
                    "output " + output + " exists and is not empty",
                    ours
                            ? "choose another -o, or pass {force} to replace it"
                            : "choose another -o: even {force} replaces only what llmc has made");
        }
    }

    /// A journal without a head is damaged: nobody can go on from it.
    private void requireSame(Journal left, Head head) {
        Head other = left.head().orElse(head);
        if (!force && !other.equals(head)) {
            throw new UserException(
                    left.directory()
                            + " holds unfinished work of "
                            + (other.version().equals(head.version())
                                    ? "another command"
                                    : "llmc %s, and this is %s"
                                            .formatted(other.version(), head.version())),
                    "delete that directory, or pass {force} to discard it");
        }
    }

    private static void requireOwn(Path directory) {
        boolean ours =
                isMissingOrEmpty(directory)
                        || marks(directory).stream().anyMatch(Files::isRegularFile);
        if (!ours) {
            throw new UserException(
                    directory + " is in the way: llmc works under that name, and has not made it",
                    "move it, or choose another -o");
        }
    }

    /// The files that show that a directory was made by llmc; they go last.
    private static List<Path> marks(Path directory) {
        return List.of(directory.resolve(Provenance.FILE), directory.resolve(Journal.FILE));
    }

    private static boolean isMadeByLlmc(Path directory) {
        try {
            Path file = directory.resolve(Provenance.FILE);
            return Files.isRegularFile(file)
                    && JSON.readTree(file.toFile()).path("llmc_version").isTextual();
        } catch (IOException e) {
            return false;
        }
    }

    private static boolean isMissingOrEmpty(Path path) {
        if (!Files.isDirectory(path)) {
            return !Files.exists(path);
        }
        try (Stream<Path> entries = Files.list(path)) {
            return entries.findAny().isEmpty();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// The journal of a run of this command that has published the output, and was killed before
    /// its end.
    private Optional<Journal> finished(RunKey key) {
        return own(target(), key).filter(Journal::isFinished);
    }

    /// Whether a run of this command has published the output, and has not concluded it.
    ///
    /// @throws UserException where the inputs of that run have changed
    public boolean isFinished(RunKey key) {
        return finished(key).flatMap(left -> continuing(left, key)).isPresent();
    }

    /// Empty where the inputs have changed and what was made of them is to be replaced.
    private Optional<Journal> continuing(Journal left, RunKey key) {
        try {
            return Optional.of(left.continuing(key.inputs()));
        } catch (UserException e) {
            if (force) {
                return Optional.empty();
            }
            throw e;
        }
    }

    /// Of a run that may have left something to go on from.
    private static Optional<Journal> own(Path directory, RunKey key) {
        return Journal.read(directory)
                .filter(j -> j.isSealed() && j.head().equals(Optional.of(key.head())));
    }

    /// Makes the working directory, or goes on where a run of the same command was interrupted:
    /// [Journal#result] is there where it had only to be published.
    ///
    /// @param bytes that the output will take, about
    /// @throws UserException as [#requireUsable], where the inputs of that run have changed, or
    ///   where the disk has no room
    public Journal begin(RunKey key, long bytes) {
        requireUsable(key);
        try {
            restore(key);
            requireUsable(key);
            Optional<Journal> left =
                    finished(key).or(() -> own(work(), key)).flatMap(j -> continuing(j, key));
            if (left.isPresent()) {
                return left.get();
            }
            delete(work());
            CheckpointWriter.requireSpace(work(), bytes);
            Files.createDirectories(work());
            key.inputs().begin();
            return Journal.begin(work(), key);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// After a swap that was interrupted: deletes what was replaced, or gives it its name back
    /// where what would have replaced it is not wanted any more.
    private void restore(RunKey key) throws IOException {
        if (!Files.exists(old())) {
            return;
        }
        if (!isMissingOrEmpty(target()) || isDiscarded(old())) {
            delete(old());
        } else if (own(work(), key).filter(Journal::isFinished).isEmpty()) {
            move(old(), target());
        }
    }

    /// Leaves nothing of a run that failed before it had finished anything.
    public void abandon(Journal journal) {
        if (!journal.isSealed()) {
            try {
                delete(work());
            } catch (UncheckedIOException e) {
                // What made the run fail says more.
            }
        }
    }

    /// Copies what must travel with a model, and writes the tokenizer that only the weights' own
    /// file has.
    ///
    /// @return the originals
    public List<Path> copySideFiles(Checkpoint c) {
        try {
            Optional<String> inside = c.text(TOKENIZER);
            if (inside.isPresent()) {
                Files.writeString(work().resolve(TOKENIZER), inside.get());
            }
            for (Path file : c.sideFiles()) {
                Files.copy(
                        file,
                        work().resolve(file.getFileName()),
                        StandardCopyOption.REPLACE_EXISTING);
            }
            return c.sideFiles();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Brings the working directory to the disk and notes that it holds the verified output; what
    /// else is in it may be deleted now.
    ///
    /// @param result for [Journal#result], in the run that publishes it
    public void complete(Journal journal, Object result) {
        try (Stream<Path> tree = Files.walk(work())) {
            tree.forEach(OutputPlace::sync);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        journal.finish(result);
    }

    /// Gives the completed working directory the output's name, unless an earlier run has.
    public void publish(Journal journal) {
        try {
            if (journal.directory().equals(work())) {
                requireReplaceable(journal.head().orElseThrow());
                OutputPlace.sync(work());
                if (!isMissingOrEmpty(target())) {
                    move(target(), old());
                }
                move(work(), target());
                OutputPlace.sync(OutputPlace.real(target()).getParent());
            }
            delete(old());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void move(Path from, Path to) throws IOException {
        Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
    }

    /// Ends the run that published the output: from now on it is nobody's unfinished work.
    public void conclude() {
        try {
            Files.deleteIfExists(target().resolve(Journal.FILE));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    public List<Path> weightFiles() {
        try (Stream<Path> files = Files.list(output)) {
            return files.filter(f -> f.toString().endsWith(".safetensors")).sorted().toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// Deletes the output, or what an earlier run has left of it.
    public void delete() {
        try {
            delete(old());
            if (Files.exists(target())) {
                move(target(), old());
            }
            delete(old());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// From the first change on nothing in the directory counts.
    private static void delete(Path directory) {
        Path journal = directory.resolve(Journal.FILE);
        try {
            if (Files.isRegularFile(journal)) {
                Files.write(journal, new byte[0]);
            }
            deleteTree(directory);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static boolean isDiscarded(Path directory) throws IOException {
        Path journal = directory.resolve(Journal.FILE);
        return Files.isRegularFile(journal) && Files.size(journal) == 0;
    }

    /// Deletes a directory with all that is in it, if it is there.
    public static void deleteTree(Path root) {
        if (!Files.exists(root)) {
            return;
        }
        List<Path> last = marks(root);
        try (Stream<Path> tree = Files.walk(root)) {
            for (Path path : tree.sorted(Comparator.reverseOrder()).toList()) {
                if (!last.contains(path) && !path.equals(root)) {
                    Files.delete(path);
                }
            }
            for (Path path : last) {
                Files.deleteIfExists(path);
            }
            Files.delete(root);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
