// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.teacher;

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/// `cache.json`: what a teacher's cache holds, and of whom. Reading checks every number.
///
/// @param vocabulary tokens that the teacher predicts
/// @param topK log-probabilities kept of each prediction
/// @param length tokens of a window
/// @param temperature of the softmax that they were taken from
/// @param idsSha256 of `tokens.bin`
/// @param teacherSha256 file name to SHA-256
/// @param bytesPerToken in both files together, without the checksums of 4 bytes a window
public record CacheHeader(
        @JsonProperty("format") String format,
        @JsonProperty("format_version") int version,
        @JsonProperty("llmc_version") String toolVersion,
        @JsonProperty("vocabulary") int vocabulary,
        @JsonProperty("top_k") int topK,
        @JsonProperty("length") int length,
        @JsonProperty("windows") int windows,
        @JsonProperty("temperature") float temperature,
        @JsonProperty("ids_sha256") String idsSha256,
        @JsonProperty("teacher_sha256") Map<String, String> teacherSha256,
        @JsonProperty("bytes_per_token") long bytesPerToken) {
    public static final String FILE = "cache.json";
    static final String TOKENS = "tokens.bin";
    public static final String LOGITS = "logits.bin";

    private static final String FORMAT = "llmc-teacher-cache";
    private static final int VERSION = 1;
    private static final long MAX_FILE = 1 << 20;

    /// A window is read into arrays.
    public static final long MAX_WINDOW = 1L << 30;

    private static final JsonMapper JSON =
            JsonMapper.builder()
                    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                    .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                    .enable(DeserializationFeature.FAIL_ON_MISSING_CREATOR_PROPERTIES)
                    .enable(DeserializationFeature.FAIL_ON_NULL_CREATOR_PROPERTIES)
                    .enable(SerializationFeature.INDENT_OUTPUT)
                    .build();

    public static CacheHeader of(
            String toolVersion,
            CacheRow row,
            int length,
            int windows,
            float temperature,
            String idsSha256,
            Map<String, String> teacherSha256) {
        return new CacheHeader(
                FORMAT,
                VERSION,
                toolVersion,
                row.vocabulary(),
                row.topK(),
                length,
                windows,
                temperature,
                idsSha256,
                teacherSha256,
                Integer.BYTES + row.bytes());
    }

    public void write(Path directory) {
        try {
            Files.writeString(directory.resolve(FILE), JSON.writeValueAsString(this) + "\n");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /// @throws UserException where there is none
    /// @throws FormatException where it is broken, or does not fit the files beside it
    static CacheHeader read(Path directory) {
        Path file = directory.resolve(FILE);
        if (!Files.isRegularFile(file)) {
            throw new UserException(
                    directory + ": no cache.json here",
                    "name a directory that llmc distill --save-teacher has made");
        }
        try {
            if (Files.size(file) > MAX_FILE) {
                throw new FormatException(file, "too large for what it should be");
            }
            CacheHeader header = JSON.readValue(Files.readAllBytes(file), CacheHeader.class);
            header.check(file);
            header.requireSize(directory.resolve(TOKENS), header.tokens() * Integer.BYTES);
            header.requireSize(directory.resolve(LOGITS), header.windows * header.windowBytes());
            return header;
        } catch (JsonProcessingException e) {
            throw new FormatException(file, "not a teacher's cache: " + e.getOriginalMessage());
        } catch (IOException e) {
            throw new UserException(
                    "cannot read %s: %s".formatted(file, e.getMessage()),
                    "check that you may read it");
        }
    }

    private void check(Path file) {
        require(FORMAT.equals(format), file, "format is %s, expected %s".formatted(format, FORMAT));
        require(
                version == VERSION,
                file,
                "format_version is %d, and this llmc reads %d".formatted(version, VERSION));
        require(vocabulary > 0, file, "vocabulary is %d".formatted(vocabulary));
        require(
                topK > 0 && topK <= vocabulary,
                file,
                "top_k is %d, of %d tokens".formatted(topK, vocabulary));
        require(
                length > 0 && windows > 0 && (long) length * windows <= Integer.MAX_VALUE - 16,
                file,
                "%d windows of %d tokens".formatted(windows, length));
        require(
                temperature > 0 && Float.isFinite(temperature),
                file,
                "temperature is %s".formatted(temperature));
        require(
                bytesPerToken == Integer.BYTES + row().bytes(),
                file,
                "bytes_per_token is %d, expected %d"
                        .formatted(bytesPerToken, Integer.BYTES + row().bytes()));
        require(
                row().bytes() <= MAX_WINDOW / length,
                file,
                "a window of %d tokens is too large".formatted(length));
    }

    private static void require(boolean ok, Path file, String message) {
        if (!ok) {
            throw new FormatException(file, message);
        }
    }

    private void requireSize(Path file, long bytes) throws IOException {
        long size = Files.isRegularFile(file) ? Files.size(file) : 0;
        require(
                size == bytes,
                file,
                "%,d bytes, expected %,d: save the teacher's predictions again"
                        .formatted(size, bytes));
    }

    @JsonIgnore
    CacheRow row() {
        return new CacheRow(vocabulary, topK);
    }

    public long tokens() {
        return (long) length * windows;
    }

    /// Of `logits.bin`, with the checksum.
    long windowBytes() {
        return length * row().bytes() + Integer.BYTES;
    }
}
