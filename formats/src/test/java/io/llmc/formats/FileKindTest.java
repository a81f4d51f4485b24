// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.checkpoint.Checkpoint;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.GZIPOutputStream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// What lies under the name of a safetensors file when a download or a conversion went wrong.
class FileKindTest {
    @TempDir Path directory;

    private void refuses(byte[] bytes, String... words) throws IOException {
        Files.writeString(directory.resolve("config.json"), Fixture.CONFIG);
        Path file = Files.write(directory.resolve("model.safetensors"), bytes);
        assertThatThrownBy(() -> Checkpoint.open(directory).close())
                .isInstanceOf(FormatException.class)
                .hasMessageStartingWith(file + ": is ")
                .hasMessageContainingAll(words)
                .hasMessageContaining("expected a safetensors file: ");
    }

    private void refuses(String latin, String... words) throws IOException {
        refuses(latin.getBytes(StandardCharsets.ISO_8859_1), words);
    }

    @Test
    void namesContainers() throws IOException {
        ByteArrayOutputStream zip = new ByteArrayOutputStream();
        try (ZipOutputStream out = new ZipOutputStream(zip)) {
            out.putNextEntry(new ZipEntry("archive/data.pkl"));
        }
        refuses(zip.toByteArray(), "a zip file", "PyTorch", "convert the model to safetensors");
        ByteArrayOutputStream gzip = new ByteArrayOutputStream();
        try (GZIPOutputStream out = new GZIPOutputStream(gzip)) {
            out.write(1);
        }
        refuses(gzip.toByteArray(), "a gzip file", "unpack it first");
        refuses("\u0080\2ctorch\n", "a Python pickle", "convert");
        refuses("GGUF\3\0\0\0", "a GGUF file", "original model");
        refuses("\u0089HDF\r\n\u001a\n", "an HDF5 file");
        refuses("\u00fd7zXZ\0\0", "an xz file");
        refuses("\u0028\u00b5\u002f\u00fd\4", "a zstd file");
        refuses("\u0089PNG\r\n\u001a\n", "a PNG picture");
        refuses("x".repeat(257) + "ustar\0", "a tar file");
    }

    @Test
    void namesWhatServersAndGitLeaveInstead() throws IOException {
        refuses(
                "version https://git-lfs.github.com/spec/v1\noid sha256:"
                        + "0".repeat(64)
                        + "\nsize 100\n",
                "a git-lfs pointer",
                "git lfs pull");
        refuses("\n<!doctype HTML>\n<html>", "an HTML page", "login");
        refuses("<html lang=\"en\">", "an HTML page");
        refuses("<?xml version=\"1.0\"?><Error/>", "an XML document");
        refuses(
                "{\"error\": \"Repository not found\"}",
                "JSON: {\"error\": \"Repository not found\"}");
        refuses("Entry not found", "text: Entry not found", "download it again");
        refuses("../../blobs/" + "ab".repeat(60), "text: ../../blobs/abab", "...");
        refuses("", "empty, 0 bytes", "download it again");
        refuses("\0".repeat(4096), "begins with zeros", "not finished");
    }

    @Test
    void namesWhatIsNoFile() throws IOException {
        Files.writeString(directory.resolve("config.json"), Fixture.CONFIG);
        Path file = directory.resolve("model.safetensors");
        Files.createDirectory(file);
        assertThatThrownBy(() -> Checkpoint.open(directory).close())
                .isInstanceOf(UserException.class)
                .hasMessage(file + ": is a directory, expected a file");
        Files.delete(file);
        Files.createSymbolicLink(file, Path.of("../../blobs/0123"));
        assertThatThrownBy(() -> Checkpoint.open(directory).close())
                .isInstanceOf(UserException.class)
                .hasMessageContainingAll(file.toString(), "is a link to ../../blobs/0123");
        Files.delete(directory.resolve("config.json"));
        Files.createDirectory(directory.resolve("config.json"));
        assertThatThrownBy(() -> Checkpoint.open(directory).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("config.json: is a directory");
    }

    @Test
    void knowsTextFromBinary() throws IOException {
        Path file = directory.resolve("data");
        Files.writeString(file, "plain text");
        assertThat(FileKind.of(file)).isEmpty();
        assertThat(FileKind.ofBinary(file)).isPresent();
        Files.write(file, new byte[] {1, 2, 3});
        assertThat(FileKind.ofBinary(file)).isEmpty();
        Files.writeString(file, "\u00e9".repeat(300));
        assertThat(FileKind.ofBinary(file)).as("a character that is cut").isPresent();
    }
}
