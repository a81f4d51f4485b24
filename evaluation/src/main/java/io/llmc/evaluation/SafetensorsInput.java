// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.llmc.formats.FormatException;
import io.llmc.formats.UserException;
import io.llmc.tensor.DType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Arrays;

/// Reads one small tensor of whole numbers from a safetensors file that is no checkpoint.
final class SafetensorsInput {
    private static final int MAX_HEADER = 1 << 24;
    private static final long MAX_DATA = 1 << 30;
    private static final JsonMapper JSON =
            new JsonMapper(
                    JsonFactory.builder()
                            .streamReadConstraints(
                                    StreamReadConstraints.builder().maxNestingDepth(32).build())
                            .build());

    private SafetensorsInput() {}

    /// @param bytes little-endian
    record Tensor(Path file, String name, DType dtype, long[] shape, ByteBuffer bytes) {
        /// @throws FormatException where a number does not fit into 32 bits
        int[] toInts() {
            int[] values = new int[bytes.remaining() / dtype.bytes()];
            for (int i = 0; i < values.length; i++) {
                long value = dtype == DType.I64 ? bytes.getLong(8 * i) : bytes.getInt(4 * i);
                if (value != (int) value) {
                    throw new FormatException(
                            file, "'%s' holds %d, which is no token id".formatted(name, value));
                }
                values[i] = (int) value;
            }
            return values;
        }
    }

    /// @throws FormatException where the file is broken or has no such tensor of I64 or I32
    static Tensor read(Path file, String name) {
        try (FileChannel channel = FileChannel.open(file)) {
            long size = channel.size();
            long length = size < 8 ? -1 : read(file, channel, 0, 8).getLong(0);
            if (length < 2 || length > Math.min(MAX_HEADER, size - 8)) {
                throw new FormatException(file, 0, "not a whole safetensors file");
            }
            ByteBuffer header = read(file, channel, 8, (int) length);
            JsonNode tensor = JSON.readTree(header.array()).path(name);
            if (!tensor.isObject()) {
                throw new FormatException(file, "has no tensor '%s'".formatted(name));
            }
            return read(file, channel, name, tensor, 8 + length, size);
        } catch (JsonProcessingException e) {
            throw new FormatException(file, 8, "not valid JSON: " + e.getOriginalMessage());
        } catch (IOException e) {
            throw new UserException(
                    "cannot read %s: %s".formatted(file, e), "check that the file is there");
        }
    }

    private static Tensor read(
            Path file, FileChannel channel, String name, JsonNode entry, long dataStart, long size)
            throws IOException {
        String type = entry.path("dtype").asText();
        if (!type.equals("I64") && !type.equals("I32")) {
            throw new FormatException(
                    file, "'%s' is of type %s, expected I64 or I32".formatted(name, type));
        }
        DType dtype = DType.valueOf(type);
        long[] shape = numbers(file, name, entry.path("shape"));
        long[] offsets = numbers(file, name, entry.path("data_offsets"));
        long bytes = dtype.bytes();
        try {
            for (long d : shape) {
                bytes = Math.multiplyExact(bytes, d);
            }
        } catch (ArithmeticException e) {
            bytes = -1;
        }
        boolean fits =
                offsets.length == 2
                        && bytes >= 0
                        && bytes <= MAX_DATA
                        && offsets[0] <= size - dataStart
                        && offsets[1] - offsets[0] == bytes
                        && offsets[1] <= size - dataStart;
        if (!fits) {
            throw new FormatException(
                    file,
                    "'%s' is %s%s at data offsets %s of %,d bytes: these do not fit together"
                            .formatted(
                                    name,
                                    dtype,
                                    Arrays.toString(shape),
                                    Arrays.toString(offsets),
                                    size - dataStart));
        }
        return new Tensor(
                file, name, dtype, shape, read(file, channel, dataStart + offsets[0], (int) bytes));
    }

    private static long[] numbers(Path file, String name, JsonNode array) {
        long[] numbers = new long[array.size()];
        for (int i = 0; i < numbers.length; i++) {
            JsonNode number = array.get(i);
            if (!array.isArray()
                    || !number.canConvertToExactIntegral()
                    || !number.canConvertToLong()
                    || number.longValue() < 0) {
                throw new FormatException(
                        file, "'%s' has %s, expected whole numbers from 0".formatted(name, array));
            }
            numbers[i] = number.longValue();
        }
        return numbers;
    }

    private static ByteBuffer read(Path file, FileChannel channel, long from, int bytes)
            throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
        while (buffer.hasRemaining()) {
            if (channel.read(buffer, from + buffer.position()) < 0) {
                throw new FormatException(file, "became shorter while it was read");
            }
        }
        return buffer.flip();
    }
}
