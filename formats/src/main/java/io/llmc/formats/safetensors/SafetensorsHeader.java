// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.safetensors;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import io.llmc.formats.FileKind;
import io.llmc.formats.FormatException;
import io.llmc.formats.Json;
import io.llmc.formats.JsonFault;
import io.llmc.formats.TensorInfo;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import java.io.CharConversionException;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;

/// The head of a safetensors file: a little-endian u64 length, that many bytes of JSON, then the
/// data of all tensors without a hole.
///
/// @param tensors by offset
/// @param metadata the strings of `__metadata__`
/// @see <a href="https://huggingface.co/docs/safetensors">safetensors</a>
public record SafetensorsHeader(
        Path file, SequencedMap<String, Entry> tensors, Map<String, String> metadata) {
    private static final long MAX_HEADER = 100_000_000;
    private static final int MAX_RANK = 16;

    /// More than twice those of the largest published model, whose every expert is a tensor or
    /// three.
    private static final int MAX_TENSORS = 500_000;

    private static final JsonFactory FACTORY = Json.factory(Long.MAX_VALUE);
    private static final String METADATA = "__metadata__";

    /// @param offset of the first byte in the file
    public record Entry(TensorInfo info, long offset, long bytes) {}

    /// @throws FormatException where the file is not a whole and consistent safetensors file
    public static SafetensorsHeader read(Path file, FileChannel channel) throws IOException {
        long size = channel.size();
        if (size < 8) {
            requireKind(file);
            throw new FormatException(
                    file, "%d bytes are too few for a safetensors file".formatted(size));
        }
        long length = readFully(channel, 0, 8).order(ByteOrder.LITTLE_ENDIAN).getLong();
        if (length < 2 || length > MAX_HEADER) {
            requireKind(file);
            throw new FormatException(
                    file,
                    0,
                    "a header of %s bytes, expected 2 to %d: this is not a safetensors file"
                            .formatted(Long.toUnsignedString(length), MAX_HEADER));
        }
        if (length > size - 8) {
            requireKind(file);
            throw new FormatException(
                    file,
                    0,
                    "a header of %d bytes in a file of %d: the file is cut short, download it again"
                            .formatted(length, size));
        }
        byte[] json = readFully(channel, 8, (int) length).array();
        return new Reader(file, 8 + length, size).read(json);
    }

    /// Says what a file is that is no safetensors file, where that can be told.
    private static void requireKind(Path file) {
        FileKind.ofBinary(file)
                .ifPresent(kind -> {
                    throw kind.refusal(file, "a safetensors file");
                });
    }

    private static ByteBuffer readFully(FileChannel channel, long from, int bytes)
            throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(bytes);
        while (buffer.hasRemaining()) {
            if (channel.read(buffer, from + buffer.position()) < 0) {
                throw new EOFException("the file became shorter while it was read");
            }
        }
        return buffer.flip();
    }

    /// The state of one parse.
    private static final class Reader {
        private final Path file;
        private final long dataStart;
        private final long size;
        private final List<Entry> entries = new ArrayList<>();
        private final Map<String, String> metadata = new LinkedHashMap<>();

        Reader(Path file, long dataStart, long size) {
            this.file = file;
            this.dataStart = dataStart;
            this.size = size;
        }

        public SafetensorsHeader read(byte[] json) throws IOException {
            try (JsonParser p = FACTORY.createParser(json)) {
                if (json[0] != '{' || p.nextToken() != JsonToken.START_OBJECT) {
                    requireKind(file);
                    throw new FormatException(file, 8, "expected a JSON object as the header");
                }
                while (p.nextToken() == JsonToken.FIELD_NAME) {
                    String name = p.currentName();
                    p.nextToken();
                    if (name.equals(METADATA)) {
                        readMetadata(p);
                    } else if (entries.size() == MAX_TENSORS) {
                        throw at(p, "more than %,d tensors".formatted(MAX_TENSORS));
                    } else {
                        entries.add(readTensor(p, name));
                    }
                }
                if (p.nextToken() != null) {
                    throw at(p, "expected nothing after the header's object");
                }
            } catch (JsonProcessingException | CharConversionException e) {
                JsonFault fault = JsonFault.of(json, e);
                throw new FormatException(
                        file, 8 + fault.offset(), "the header is not valid JSON: " + fault.what());
            }
            return new SafetensorsHeader(file, inOrder(), Collections.unmodifiableMap(metadata));
        }

        private void readMetadata(JsonParser p) throws IOException {
            expect(p, JsonToken.START_OBJECT, "an object as " + METADATA);
            while (p.nextToken() == JsonToken.FIELD_NAME) {
                String key = p.currentName();
                p.nextToken();
                expect(p, JsonToken.VALUE_STRING, "a string as metadata '" + key + "'");
                metadata.put(key, p.getText());
            }
        }

        private Entry readTensor(JsonParser p, String name) throws IOException {
            expect(p, JsonToken.START_OBJECT, "an object as tensor '" + name + "'");
            DType dtype = null;
            long[] shape = null;
            long[] offsets = null;
            while (p.nextToken() == JsonToken.FIELD_NAME) {
                String key = p.currentName();
                p.nextToken();
                switch (key) {
                    case "dtype" -> dtype = readDType(p, name);
                    case "shape" -> shape = readNumbers(p, name, key);
                    case "data_offsets" -> offsets = readNumbers(p, name, key);
                    default -> p.skipChildren();
                }
            }
            if (dtype == null || shape == null || offsets == null || offsets.length != 2) {
                throw at(p, "tensor '%s' needs dtype, shape and two data_offsets".formatted(name));
            }
            return entry(p, name, dtype, shape, offsets);
        }

        private Entry entry(JsonParser p, String name, DType dtype, long[] shape, long[] offsets) {
            if (offsets[1] < offsets[0] || offsets[1] > size - dataStart) {
                throw at(
                        p,
                        "tensor '%s' has data offsets %s of %d data bytes: the file is cut short or broken, download it again"
                                .formatted(name, Arrays.toString(offsets), size - dataStart));
            }
            TensorInfo info = new TensorInfo(name, dtype, new Shape(shape));
            long bytes = offsets[1] - offsets[0];
            long expected;
            try {
                expected = info.byteSize();
            } catch (ArithmeticException e) {
                throw at(p, "tensor '%s': %s".formatted(info, e.getMessage()));
            }
            if (bytes != expected) {
                throw at(
                        p,
                        "tensor '%s' takes %d bytes, but its data offsets span %d"
                                .formatted(info, expected, bytes));
            }
            return new Entry(info, dataStart + offsets[0], bytes);
        }

        private DType readDType(JsonParser p, String name) throws IOException {
            expect(p, JsonToken.VALUE_STRING, "a string as dtype of '" + name + "'");
            String text = p.getText();
            for (DType dtype : DType.values()) {
                if (dtype.name().equals(text)) {
                    return dtype;
                }
            }
            throw at(
                    p,
                    "tensor '%s' has the unknown dtype '%s', expected one of %s"
                            .formatted(name, text, Arrays.toString(DType.values())));
        }

        private long[] readNumbers(JsonParser p, String name, String key) throws IOException {
            String what = "whole numbers from 0 as ";
            expect(p, JsonToken.START_ARRAY, what, key, name);
            long[] numbers = new long[MAX_RANK];
            int n = 0;
            while (p.nextToken() != JsonToken.END_ARRAY) {
                expect(p, JsonToken.VALUE_NUMBER_INT, what, key, name);
                if (p.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
                    throw at(p, "%s of '%s' is out of range".formatted(key, name));
                }
                long number = p.getLongValue();
                if (number < 0) {
                    throw at(p, "expected %s%s of '%s'".formatted(what, key, name));
                }
                if (n == MAX_RANK) {
                    throw at(p, "tensor '%s' has over %d %s".formatted(name, MAX_RANK, key));
                }
                numbers[n++] = number;
            }
            return Arrays.copyOf(numbers, n);
        }

        /// By offset; every byte of the data belongs to exactly one tensor.
        private SequencedMap<String, Entry> inOrder() {
            entries.sort(Comparator.comparingLong(Entry::offset).thenComparingLong(Entry::bytes));
            SequencedMap<String, Entry> byName = new LinkedHashMap<>();
            long end = dataStart;
            for (Entry e : entries) {
                if (e.offset != end) {
                    throw new FormatException(
                            file,
                            Math.min(end, e.offset),
                            "tensor '%s' begins at byte %d, expected %d: tensors %s"
                                    .formatted(
                                            e.info.name(),
                                            e.offset,
                                            end,
                                            e.offset < end ? "overlap" : "leave a hole"));
                }
                end += e.bytes;
                byName.put(e.info.name(), e);
            }
            if (end != size) {
                throw new FormatException(
                        file,
                        end,
                        "expected the end, but %d more bytes follow".formatted(size - end));
            }
            return byName;
        }

        private void expect(JsonParser p, JsonToken token, String what) {
            if (p.currentToken() != token) {
                throw at(p, "expected " + what);
            }
        }

        /// Puts no words together where all is well, as it is with half a million tensors.
        private void expect(JsonParser p, JsonToken token, String what, String key, String name) {
            if (p.currentToken() != token) {
                throw at(p, "expected %s%s of '%s'".formatted(what, key, name));
            }
        }

        private FormatException at(JsonParser p, String reason) {
            return new FormatException(file, 8 + p.currentLocation().getByteOffset(), reason);
        }
    }
}
