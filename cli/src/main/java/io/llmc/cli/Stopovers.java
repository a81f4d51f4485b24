// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.pipeline.Recipe;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/// The directories that a recipe of several sweeps passes through. Their names hold a hash of the
/// recipe and its inputs, so that none is taken for another's.
final class Stopovers {
    private final Recipe recipe;
    private final int sweeps;
    private final String key;
    private final List<Path> made = new ArrayList<>();
    private int done;

    Stopovers(Recipe recipe, int sweeps) {
        this.recipe = recipe;
        this.sweeps = sweeps;
        this.key = sweeps > 1 ? key(recipe) : "";
    }

    /// Where the model lies after the sweeps so far.
    Path last() {
        return done == 0 ? recipe.model() : directory(done);
    }

    /// Where the next sweep writes; empty where an earlier run has finished it.
    Optional<Path> next() {
        done++;
        Path directory = directory(done);
        if (done == sweeps) {
            return Optional.of(directory);
        }
        made.add(directory);
        return Files.exists(directory.resolve("config.json"))
                ? Optional.empty()
                : Optional.of(directory);
    }

    private Path directory(int sweep) {
        return sweep == sweeps
                ? recipe.output()
                : recipe.output()
                        .resolveSibling(
                                "%s.llmc-step-%d-%s"
                                        .formatted(recipe.output().getFileName(), sweep, key));
    }

    void remove() {
        for (Path directory : made) {
            try (Stream<Path> tree = Files.walk(directory)) {
                for (Path path : tree.sorted(Comparator.reverseOrder()).toList()) {
                    Files.delete(path);
                }
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }

    private static String key(Recipe recipe) {
        StringBuilder text = new StringBuilder(recipe.source().toString());
        try (Stream<Path> files = Files.list(recipe.model())) {
            for (Path file : files.sorted().toList()) {
                text.append(file.getFileName())
                        .append(Files.size(file))
                        .append(Files.getLastModifiedTime(file));
            }
            if (recipe.calibration() != null) {
                text.append(Files.getLastModifiedTime(recipe.calibration().data()));
            }
            byte[] hash =
                    MessageDigest.getInstance("SHA-256")
                            .digest(text.toString().getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(hash, 0, 4);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }
}
