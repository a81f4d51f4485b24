// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import io.llmc.formats.UserException;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.plan.DeviceTable;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Optional;

/// Tables of devices in YAML: the one that llmc comes with, and one of the user's.
final class DeviceFile {
    private static final String OWN = "devices.yaml";

    private DeviceFile() {}

    /// @param more devices of the user's, which go before llmc's own of the same name
    static DeviceTable read(Optional<Path> more) {
        DeviceTable own = table(OWN, own());
        return more.map(file -> own.and(table(file.toString(), text(file)))).orElse(own);
    }

    private static DeviceTable table(String file, String text) {
        return DeviceTable.read(RecipeFile.options(file, text));
    }

    private static String own() {
        try (InputStream in = DeviceFile.class.getResourceAsStream(OWN)) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String text(Path file) {
        try {
            return Files.readString(file);
        } catch (NoSuchFileException e) {
            throw new UserException(
                    file + ": no such file", "--table names a table of devices in YAML");
        } catch (CharacterCodingException e) {
            throw new RecipeException(file.toString(), "is not a text in UTF-8");
        } catch (IOException e) {
            throw new UncheckedIOException(file + ": cannot be read: " + e.getMessage(), e);
        }
    }
}
