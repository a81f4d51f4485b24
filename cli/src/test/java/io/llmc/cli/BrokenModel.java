// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.DoubleUnaryOperator;
import java.util.stream.Stream;

/// A copy of a good model directory, to be broken in one way.
record BrokenModel(Path directory) {
    private static final ObjectMapper JSON = new ObjectMapper();

    static BrokenModel copyOf(Path good, Path directory) throws IOException {
        Files.createDirectories(directory);
        try (Stream<Path> files = Files.list(good)) {
            for (Path file : files.toList()) {
                Files.copy(file, directory.resolve(file.getFileName()));
            }
        }
        return new BrokenModel(directory);
    }

    Path weights() {
        return directory.resolve("model.safetensors");
    }

    BrokenModel without(String file) throws IOException {
        Files.delete(directory.resolve(file));
        return this;
    }

    BrokenModel config(Consumer<ObjectNode> change) throws IOException {
        Path file = directory.resolve("config.json");
        ObjectNode config = (ObjectNode) JSON.readTree(file.toFile());
        change.accept(config);
        JSON.writeValue(file.toFile(), config);
        return this;
    }

    BrokenModel truncated(long bytes) throws IOException {
        byte[] all = Files.readAllBytes(weights());
        Files.write(weights(), Arrays.copyOf(all, (int) bytes));
        return this;
    }

    /// Changes the header; data stay where they are, counted from its end.
    BrokenModel header(Consumer<ObjectNode> change) throws IOException {
        byte[] all = Files.readAllBytes(weights());
        int length = (int) headerLength(all);
        ObjectNode header = (ObjectNode) JSON.readTree(Arrays.copyOfRange(all, 8, 8 + length));
        change.accept(header);
        return write(
                JSON.writeValueAsString(header), Arrays.copyOfRange(all, 8 + length, all.length));
    }

    /// Replaces the header's text.
    BrokenModel headerText(String text) throws IOException {
        byte[] all = Files.readAllBytes(weights());
        return write(text, Arrays.copyOfRange(all, 8 + (int) headerLength(all), all.length));
    }

    String headerText() throws IOException {
        byte[] all = Files.readAllBytes(weights());
        return new String(all, 8, (int) headerLength(all), StandardCharsets.UTF_8);
    }

    /// Claims another length of the header.
    BrokenModel headerLength(long length) throws IOException {
        byte[] all = Files.readAllBytes(weights());
        ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN).putLong(0, length);
        Files.write(weights(), all);
        return this;
    }

    /// Overwrites the first elements of a tensor in BF16.
    BrokenModel bf16(String tensor, float value) throws IOException {
        byte[] all = Files.readAllBytes(weights());
        int length = (int) headerLength(all);
        long offset =
                JSON.readTree(Arrays.copyOfRange(all, 8, 8 + length))
                        .path(tensor)
                        .path("data_offsets")
                        .path(0)
                        .asLong();
        ByteBuffer.wrap(all)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putShort(
                        (int) (8 + length + offset),
                        (short) (Float.floatToRawIntBits(value) >>> 16));
        Files.write(weights(), all);
        return this;
    }

    /// Changes every value of a tensor in BF16.
    BrokenModel map(String tensor, DoubleUnaryOperator change) throws IOException {
        return map(tensor, change, false);
    }

    /// Rewrites one tensor in BF16 as another type.
    BrokenModel retyped(String tensor, String dtype, int bytes, ElementWriter to)
            throws IOException {
        byte[] all = Files.readAllBytes(weights());
        int start = 8 + (int) headerLength(all);
        ObjectNode header = (ObjectNode) JSON.readTree(Arrays.copyOfRange(all, 8, start));
        ByteBuffer from = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN);
        ByteBuffer data = ByteBuffer.allocate(all.length * 4).order(ByteOrder.LITTLE_ENDIAN);
        List<JsonNode> entries = new ArrayList<>();
        header.forEach(entries::add);
        entries.removeIf(e -> !e.has("data_offsets"));
        entries.sort(Comparator.comparingLong(e -> e.path("data_offsets").path(0).asLong()));
        for (JsonNode entry : entries) {
            int at = start + entry.path("data_offsets").path(0).asInt();
            int end = start + entry.path("data_offsets").path(1).asInt();
            int moved = data.position();
            if (entry.equals(header.get(tensor))) {
                ((ObjectNode) entry).put("dtype", dtype);
                for (; at < end; at += 2) {
                    int next = data.position() + bytes;
                    to.write(data, Float.intBitsToFloat(from.getShort(at) << 16));
                    data.position(next);
                }
            } else {
                data.put(all, at, end - at);
            }
            ((ObjectNode) entry).putArray("data_offsets").add(moved).add(data.position());
        }
        return write(JSON.writeValueAsString(header), Arrays.copyOf(data.array(), data.position()));
    }

    /// Writes a value at the position of a buffer.
    interface ElementWriter {
        void write(ByteBuffer to, float value);
    }

    /// Rewrites a model of BF16 tensors in F16.
    BrokenModel inF16() throws IOException {
        byte[] all = Files.readAllBytes(weights());
        JsonNode header = JSON.readTree(Arrays.copyOfRange(all, 8, 8 + (int) headerLength(all)));
        List<String> names = new ArrayList<>();
        header.fieldNames().forEachRemaining(names::add);
        names.remove("__metadata__");
        for (String name : names) {
            map(name, x -> x, true);
        }
        return header(h -> names.forEach(n -> ((ObjectNode) h.get(n)).put("dtype", "F16")));
    }

    private BrokenModel map(String tensor, DoubleUnaryOperator change, boolean f16)
            throws IOException {
        byte[] all = Files.readAllBytes(weights());
        int length = (int) headerLength(all);
        JsonNode offsets =
                JSON.readTree(Arrays.copyOfRange(all, 8, 8 + length))
                        .path(tensor)
                        .path("data_offsets");
        ByteBuffer buffer = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = offsets.path(0).asInt(); at < offsets.path(1).asInt(); at += 2) {
            float old = Float.intBitsToFloat(buffer.getShort(8 + length + at) << 16);
            float changed = (float) change.applyAsDouble(old);
            buffer.putShort(
                    8 + length + at,
                    f16
                            ? Float.floatToFloat16(changed)
                            : (short) (Float.floatToRawIntBits(changed) >>> 16));
        }
        Files.write(weights(), all);
        return this;
    }

    private static long headerLength(byte[] all) {
        return ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN).getLong(0);
    }

    private BrokenModel write(String header, byte[] data) throws IOException {
        byte[] text = header.getBytes(StandardCharsets.UTF_8);
        ByteBuffer all =
                ByteBuffer.allocate(8 + text.length + data.length).order(ByteOrder.LITTLE_ENDIAN);
        Files.write(weights(), all.putLong(text.length).put(text).put(data).array());
        return this;
    }
}
