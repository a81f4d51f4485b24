// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import io.llmc.formats.CheckpointFormat;
import io.llmc.formats.Container;
import io.llmc.formats.FileKind;
import io.llmc.formats.OpenFile;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/// One GGUF file, or a directory that holds one and is no safetensors model.
public final class GgufFormat implements CheckpointFormat {
    private static final String SUFFIX = ".gguf";
    private static final Pattern PART = Pattern.compile(".*-\\d{5}-of-\\d{5}\\.gguf");

    @Override
    public String name() {
        return "gguf";
    }

    @Override
    public boolean matches(Path path) {
        if (!Files.isDirectory(path)) {
            return Files.isRegularFile(path) && path.toString().endsWith(SUFFIX);
        }
        return !files(path).isEmpty();
    }

    @Override
    public Container open(Path path, String family) {
        Path file = Files.isDirectory(path) ? onlyOne(path) : path;
        FileKind.requireFile(file);
        if (PART.matcher(file.toString()).matches()) {
            throw new UserException(
                    file + ": is a part of a GGUF file, and llmc reads whole ones",
                    "join the parts with llama-gguf-split --merge");
        }
        OpenFile open = OpenFile.open(file);
        try {
            return new GgufFile(open, family);
        } catch (RuntimeException e) {
            open.close();
            throw e;
        }
    }

    private static Path onlyOne(Path directory) {
        List<Path> files = files(directory);
        if (files.size() > 1) {
            throw new UserException(
                    "%s: cannot tell which of %d GGUF files is the model, as %s"
                            .formatted(directory, files.size(), files.getFirst().getFileName()),
                    "name the file in the place of the directory");
        }
        return files.getFirst();
    }

    private static List<Path> files(Path directory) {
        try (Stream<Path> files = Files.list(directory)) {
            return files.filter(f -> f.toString().endsWith(SUFFIX)).sorted().toList();
        } catch (IOException e) {
            throw OpenFile.unreadable(directory, e);
        }
    }
}
