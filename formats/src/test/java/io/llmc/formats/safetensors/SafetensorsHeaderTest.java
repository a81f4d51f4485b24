// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import static io.llmc.formats.Fixture.entry;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.llmc.formats.Fixture;
import io.llmc.formats.FormatException;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/// Honest and hostile headers. Every refusal is a FormatException that names the file.
class SafetensorsHeaderTest {
    @TempDir Path directory;
    private Path file;

    @BeforeEach
    void name() {
        file = directory.resolve("model.safetensors");
    }

    private SafetensorsHeader read() throws IOException {
        try (FileChannel channel = FileChannel.open(file)) {
            return SafetensorsHeader.read(file, channel);
        }
    }

    private void refuses(String header, int dataBytes, String... words) throws IOException {
        Fixture.raw(file, header, dataBytes);
        refuses(words);
    }

    private void refuses(String... words) {
        assertThatThrownBy(this::read)
                .isInstanceOf(FormatException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContainingAll(words);
    }

    @Test
    void readsTensorsInTheOrderOfTheirOffsets() throws IOException {
        String header =
                "{\"__metadata__\":{\"format\":\"pt\"},%s,%s,%s,%s}   "
                        .formatted(
                                entry("late", "F32", "[2,1]", 6, 14),
                                entry("scalar", "BF16", "[]", 0, 2),
                                entry("empty", "F32", "[0,7]", 6, 6),
                                entry("early", "U8", "[4]", 2, 6));
        Fixture.raw(file, header, 14);
        SafetensorsHeader read = read();
        assertThat(read.tensors().keySet()).containsExactly("scalar", "early", "empty", "late");
        assertThat(read.metadata()).containsEntry("format", "pt").hasSize(1);
        SafetensorsHeader.Entry late = read.tensors().get("late");
        assertThat(late.info()).isEqualTo(TensorInfo.of("late", DType.F32, 2, 1));
        assertThat(late.offset()).isEqualTo(8 + header.length() + 6);
        assertThat(late.bytes()).isEqualTo(8);
    }

    @ParameterizedTest
    @EnumSource(DType.class)
    void readsEveryType(DType dtype) throws IOException {
        int bytes = dtype.bits(); // of 8 elements
        Fixture.raw(file, "{" + entry("t", dtype.name(), "[2,4]", 0, bytes) + "}", bytes);
        assertThat(read().tensors().get("t").info()).isEqualTo(TensorInfo.of("t", dtype, 2, 4));
    }

    @Test
    void ignoresWhatLaterVersionsMayAddToATensor() throws IOException {
        Fixture.raw(
                file,
                "{\"t\":{\"dtype\":\"U8\",\"new\":{\"a\":[1]},\"shape\":[1],\"data_offsets\":[0,1]}}",
                1);
        assertThat(read().tensors()).hasSize(1);
    }

    @Test
    void refusesAFileThatIsTooShortForALength() throws IOException {
        Files.write(file, new byte[7]);
        refuses("7 bytes");
        Files.write(file, new byte[0]);
        refuses("0 bytes");
    }

    @ParameterizedTest
    @CsvSource({
        "-9223372036854775808, 9223372036854775808",
        "-1, 18446744073709551615",
        "0, a header of 0 bytes",
        "1, a header of 1 bytes",
        "100000001, 100000001"
    })
    void refusesAnAbsurdHeaderLength(long length, String words) throws IOException {
        Fixture.raw(file, length, "{}".getBytes(StandardCharsets.UTF_8), 0);
        refuses("byte 0", words, "not a safetensors file");
    }

    @Test
    void refusesAHeaderThatEndsBeyondTheFile() throws IOException {
        Fixture.raw(file, 3, "{}".getBytes(StandardCharsets.UTF_8), 0);
        refuses("byte 0", "3 bytes in a file of 10", "download it again");
    }

    @Test
    void refusesWhatIsNotAnObject() throws IOException {
        refuses("[1]", 0, "byte 8", "expected a JSON object");
        refuses(" {}", 0, "byte 8", "expected a JSON object");
        refuses("nonsense", 0, "byte 8");
        refuses("{\"a\":", 0, "not valid JSON");
        refuses("{} {}", 0, "nothing after");
        refuses("{\"t\":3}", 0, "expected an object as tensor 't'");
        refuses("{\"\u0001\":3}", 0, "not valid JSON");
    }

    @Test
    void refusesDeepNesting() throws IOException {
        String deep = "[".repeat(100_000) + "]".repeat(100_000);
        refuses("{\"t\":{\"x\":" + deep + "}}", 0, "depth");
    }

    @Test
    void refusesTwoTensorsOfOneName() throws IOException {
        String t = entry("twin", "U8", "[0]", 0, 0);
        refuses("{" + t + "," + t + "}", 0, "twin");
        refuses("{\"t\":{\"dtype\":\"U8\",\"dtype\":\"I8\"}}", 0, "dtype");
    }

    @Test
    void refusesMissingParts() throws IOException {
        refuses("{\"t\":{}}", 0, "'t' needs dtype");
        refuses("{\"t\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "'t' needs");
        refuses(
                "{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}",
                1,
                "two data_offsets");
    }

    @Test
    void refusesWrongKindsOfValues() throws IOException {
        refuses("{" + entry("t", "Q4", "[1]", 0, 1) + "}", 1, "unknown dtype 'Q4'", "BF16");
        refuses("{" + entry("t", "U8", "[1.5]", 0, 1) + "}", 1, "whole numbers", "shape");
        refuses("{" + entry("t", "U8", "[\"1\"]", 0, 1) + "}", 1, "whole numbers");
        refuses("{" + entry("t", "U8", "1", 0, 1) + "}", 1, "whole numbers");
        refuses("{" + entry("t", "U8", "[-1]", 0, 1) + "}", 1, "whole numbers from 0");
        refuses("{" + entry("t", "U8", "[99999999999999999999]", 0, 1) + "}", 1, "range");
        refuses("{" + entry("t", "U8", "[" + "1,".repeat(40) + "1]", 0, 1) + "}", 1, "over 16");
        refuses("{\"__metadata__\":{\"a\":1}}", 0, "a string as metadata 'a'");
        refuses("{\"__metadata__\":[]}", 0, "__metadata__");
    }

    @Test
    void refusesOffsetsOutsideOfTheData() throws IOException {
        refuses("{" + entry("t", "U8", "[4]", -4, 0) + "}", 4, "whole numbers", "data_offsets");
        refuses("{" + entry("t", "U8", "[4]", 4, 0) + "}", 4, "[4, 0]");
        refuses("{" + entry("t", "U8", "[5]", 0, 5) + "}", 4, "[0, 5] of 4", "cut short");
        long huge = Long.MAX_VALUE;
        refuses("{" + entry("t", "U8", "[1]", huge - 1, huge) + "}", 4, "cut short");
    }

    @Test
    void refusesSizesThatDoNotMatchOrOverflow() throws IOException {
        refuses("{" + entry("t", "F32", "[2]", 0, 4) + "}", 4, "takes 8 bytes", "span 4");
        refuses("{" + entry("t", "U8", "[4294967296,4294967296]", 0, 0) + "}", 0, "overflow");
        refuses("{" + entry("t", "F64", "[1152921504606846976]", 0, 0) + "}", 0, "overflow");
        refuses("{" + entry("t", "F4", "[3]", 0, 1) + "}", 1, "end inside a byte");
    }

    @Test
    void refusesHolesOverlapsAndLeftovers() throws IOException {
        String a = entry("a", "U8", "[4]", 0, 4);
        refuses("{" + a + "," + entry("b", "U8", "[4]", 6, 10) + "}", 10, "'b'", "hole");
        refuses("{" + a + "," + entry("b", "U8", "[4]", 2, 6) + "}", 6, "'b'", "overlap");
        refuses("{" + a + "," + entry("b", "U8", "[4]", 0, 4) + "}", 4, "overlap");
        refuses("{" + a + "}", 6, "2 more bytes");
        refuses("{" + entry("a", "U8", "[2]", 1, 3) + "}", 3, "'a'", "hole");
        refuses("{}", 1, "1 more bytes");
    }

    @Test
    void everyTruncationIsRefused() throws IOException {
        Fixture.raw(file, "{" + entry("t", "U8", "[4]", 0, 4) + "}", 4);
        byte[] whole = Files.readAllBytes(file);
        for (int length = 0; length < whole.length; length++) {
            Files.write(file, Arrays.copyOf(whole, length));
            refuses("");
        }
        Files.write(file, whole);
        assertThat(read().tensors()).hasSize(1);
    }
}
