// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.Sha256;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Formats;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.SequencedSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// Everything that a recipe reads: no output may lie there, and what was begun with some content is
/// only continued with the same.
public final class Inputs {
    /// @param role as a sentence calls it: "the model"
    /// @param path a file or a directory
    /// @param decides whether the bytes of an output depend on it
    public record Input(String role, Path path, boolean decides) {}

    private final List<Input> all;
    private final Map<Path, CompletableFuture<String>> hashes = new ConcurrentHashMap<>();

    private Inputs(List<Input> all) {
        this.all = List.copyOf(all);
    }

    /// Of a command without a recipe.
    public static Inputs of(List<Input> all) {
        return new Inputs(all);
    }

    /// Of a whole recipe.
    public static Inputs of(Recipe recipe) {
        return of(recipe, recipe.model());
    }

    /// Of a recipe that starts from this model in the place of its own.
    public static Inputs of(Recipe recipe, Path model) {
        List<Input> all = new ArrayList<>();
        all.add(new Input("the model", model, true));
        if (recipe.calibration() != null) {
            recipe.calibration()
                    .data()
                    .forEach(text -> all.add(new Input("the calibration text", text.file(), true)));
        }
        recipe.steps().forEach(step -> all.addAll(step.inputs()));
        return new Inputs(all);
    }

    /// These and more.
    public Inputs with(List<Input> more) {
        return new Inputs(Stream.concat(all.stream(), more.stream()).toList());
    }

    public List<Input> all() {
        return all;
    }

    /// What models and caches hold besides the files that decide. Other JSON files may be results
    /// of commands.
    private static final Pattern KNOWN =
            Pattern.compile("(model\\..*|llmc|adapter_config|quantize_config|cache)\\.json");

    /// @param file that a command will write, for instance its result
    /// @param flag that names it
    /// @throws UserException where it is one of those that are read
    public void requireUnread(Path file, String flag) {
        Path real = OutputPlace.real(file);
        for (Input input : all) {
            for (Path read : inside(input.path)) {
                String name = read.getFileName().toString();
                boolean result =
                        Files.isDirectory(input.path)
                                && name.endsWith(".json")
                                && !KNOWN.matcher(name).matches()
                                && !files(input.path).contains(read);
                if (!result && OutputPlace.real(read).equals(real)) {
                    throw new UserException(
                            "%s %s would overwrite %s%s"
                                    .formatted(
                                            flag,
                                            file,
                                            Files.isDirectory(input.path) ? "a file of " : "",
                                            input.role),
                            "name another file");
                }
            }
        }
    }

    /// SHA-256 of a file, computed once.
    public String hash(Path file) {
        return begun(file).join();
    }

    /// Computes in the background what [#fingerprint] will wait for.
    void begin() {
        files().values().forEach(this::begun);
    }

    private CompletableFuture<String> begun(Path file) {
        return hashes.computeIfAbsent(file, f -> CompletableFuture.supplyAsync(() -> Sha256.of(f)));
    }

    /// SHA-256 of everything that decides, by role and file name.
    SequencedMap<String, String> fingerprint() {
        begin();
        SequencedMap<String, String> print = new LinkedHashMap<>();
        files().forEach((name, file) -> print.put(name, hash(file)));
        return print;
    }

    private SequencedMap<String, Path> files() {
        SequencedMap<String, Path> files = new LinkedHashMap<>();
        for (Input input : all) {
            if (input.decides) {
                for (Path file : files(input.path)) {
                    String name = input.role + "/" + file.getFileName();
                    for (int again = 2; files.putIfAbsent(name, file) != null; again++) {
                        name = input.role + "/" + again + "/" + file.getFileName();
                    }
                }
            }
        }
        return files;
    }

    /// What llmc reads of a model, or all that lies in another directory.
    private static List<Path> files(Path path) {
        if (Formats.matches(path)) {
            try (Checkpoint c = Checkpoint.inspect(path)) {
                SequencedSet<Path> files = new LinkedHashSet<>(List.of(c.config().file()));
                files.addAll(c.weightFiles());
                files.addAll(c.sideFiles());
                return List.copyOf(files);
            }
        }
        return inside(path);
    }

    /// The file itself, or the files of a directory, by name.
    static List<Path> inside(Path path) {
        if (!Files.isDirectory(path)) {
            return List.of(path);
        }
        try (Stream<Path> files = Files.list(path)) {
            return files.filter(Files::isRegularFile).sorted().toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// @param then [#fingerprint] when the work began
    /// @param where that work lies
    /// @throws UserException naming the first file that differs
    void requireSame(Map<String, String> then, Path where) {
        SequencedMap<String, String> now = fingerprint();
        SequencedMap<String, Path> files = files();
        SequencedMap<String, String> either = new LinkedHashMap<>(now);
        then.forEach(either::putIfAbsent);
        for (String name : either.keySet()) {
            if (!now.containsKey(name)) {
                throw changed(where, name, name.substring(name.indexOf('/') + 1) + " is gone");
            }
            if (!then.containsKey(name)) {
                throw changed(where, name, files.get(name) + " is new");
            }
            if (!now.get(name).equals(then.get(name))) {
                throw changed(where, name, files.get(name) + " is not what it was");
            }
        }
    }

    private UserException changed(Path where, String name, String what) {
        String role = name.substring(0, name.indexOf('/'));
        boolean several =
                all.stream().anyMatch(i -> i.role.equals(role) && Files.isDirectory(i.path));
        return new UserException(
                "%s holds unfinished work, but %s since: %s"
                        .formatted(
                                where,
                                role + (several ? "'s files have changed" : " has changed"),
                                what),
                "put it back, or pass {force} to start anew");
    }
}
