// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

import io.llmc.formats.checkpoint.QuantPlan;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Schemes;
import io.llmc.tensor.Tensor;
import io.llmc.tensor.Weight;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.SequencedMap;
import java.util.Set;
import java.util.stream.IntStream;

/// Small files and weights for tests.
public final class Fixture {
    public static final String CONFIG = "{\"model_type\": \"llama\"}";

    private Fixture() {}

    /// A file with this header text, which need not be right, and `dataBytes` bytes of data.
    public static Path raw(Path file, String header, int dataBytes) throws IOException {
        byte[] text = header.getBytes(StandardCharsets.UTF_8);
        return raw(file, text.length, text, dataBytes);
    }

    public static Path raw(Path file, long claimedLength, byte[] header, int dataBytes)
            throws IOException {
        ByteBuffer bytes =
                ByteBuffer.allocate(8 + header.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
        bytes.putLong(claimedLength).put(header);
        for (int i = 0; i < dataBytes; i++) {
            bytes.put((byte) i);
        }
        return Files.write(file, bytes.array());
    }

    public static String entry(String name, String dtype, String shape, long begin, long end) {
        return "\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}"
                .formatted(name, dtype, shape, begin, end);
    }

    /// A model directory with these tensors and this config.
    public static Path model(Path directory, String config, Map<String, Tensor> tensors)
            throws IOException {
        List<TensorInfo> plan =
                tensors.entrySet().stream()
                        .map(e ->
                                new TensorInfo(
                                        e.getKey(), e.getValue().dtype(), e.getValue().shape()))
                        .toList();
        try (CheckpointWriter writer = CheckpointWriter.create(directory, plan, 1 << 30, false)) {
            tensors.forEach(writer::write);
            writer.finish();
        }
        Files.writeString(directory.resolve("config.json"), config);
        return directory;
    }

    public static Tensor bytes(Arena memory, Random random, DType dtype, long... dims) {
        Tensor t = Dequantizer.allocate(memory, dtype, dims);
        byte[] bytes = new byte[(int) t.byteSize()];
        random.nextBytes(bytes);
        t.bytes().copyFrom(MemorySegment.ofArray(bytes));
        return t;
    }

    /// Random codes, scales and zero points from `minZero`.
    public static Weight.Grouped weight(
            Arena memory,
            Random random,
            Encoding.Grid<Codes.Ints> spec,
            long out,
            int in,
            DType scaleDtype,
            boolean groupIndex,
            int minZero) {
        long groups = spec.tiles().across(in);
        Tensor codes = Dequantizer.allocate(memory, DType.I32, out, spec.codes().words(in));
        for (long o = 0; o < out; o++) {
            for (int i = 0; i < in; i++) {
                int code = random.nextInt(spec.codes().maxCode() + 1);
                BitStream.put(codes.bytes(), o * codes.cols(), 1, i, spec.codes().bits(), code);
            }
        }
        Tensor scales = Dequantizer.allocate(memory, scaleDtype, out, groups);
        Tensor zeros = Dequantizer.allocate(memory, DType.U8, out, groups);
        for (long i = 0; i < out * groups; i++) {
            Floats.set(scales.bytes(), scaleDtype, i, 0.001f + random.nextFloat() / 10);
            int zero =
                    spec.codes().symmetric()
                            ? spec.codes().middleCode()
                            : minZero + random.nextInt(spec.codes().maxCode() + 1 - minZero);
            zeros.bytes().set(ValueLayout.JAVA_BYTE, i, (byte) zero);
        }
        Tensor index = groupIndex ? shuffledIndex(memory, random, spec, in) : null;
        return new Weight.Grouped(spec, in, codes, scales, zeros, index);
    }

    private static Tensor shuffledIndex(
            Arena memory, Random random, Encoding.Grid<Codes.Ints> spec, int in) {
        Tensor index = Dequantizer.allocate(memory, DType.I32, in);
        List<Integer> order = new ArrayList<>(IntStream.range(0, in).boxed().toList());
        Collections.shuffle(order, random);
        for (int i = 0; i < in; i++) {
            int group = (int) (order.get(i) / spec.tiles().width(in));
            index.bytes().setAtIndex(BitStream.WORD, i, group);
        }
        return index;
    }

    /// A plan that quantizes one layer.
    public static QuantPlan plan(
            Encoding.Grid<Codes.Ints> grid, Solver solver, String linear, String... plain) {
        SequencedMap<String, Scheme> schemes = new LinkedHashMap<>();
        schemes.put(linear, Scheme.of(grid));
        return new QuantPlan(
                new Schemes(schemes, Optional.empty()),
                List.of(new QuantPlan.Solved(solver, Set.of(linear))),
                List.of(plain),
                "llama",
                false);
    }
}
