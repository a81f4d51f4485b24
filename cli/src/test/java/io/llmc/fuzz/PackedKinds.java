// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.BitStream;
import io.llmc.formats.Dequantizer;
import io.llmc.formats.Fixture;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.Layouts;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.compressed.Packed;
import io.llmc.tensor.DType;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SequencedMap;
import java.util.SplittableRandom;
import java.util.function.Function;

/// One layer in each format of compressed-tensors and bitsandbytes: its config, its header or its
/// numbers change.
final class PackedKinds {
    private static final String CONFIG = "config.json";
    private static final String WEIGHTS = "model.safetensors";

    private PackedKinds() {}

    static List<Kind> all() {
        return List.of(
                new Kind("packed", 40, 64, PackedKinds::packed),
                new Kind("bitsandbytes", 20, 64, PackedKinds::bitsAndBytes));
    }

    /// @param header of the file of tensors
    /// @param data behind it
    private record Seed(JsonNode config, JsonNode header, byte[] data) {
        static Seed of(Path directory) throws IOException {
            byte[] all = Files.readAllBytes(directory.resolve(WEIGHTS));
            int length = (int) ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN).getLong();
            String header = new String(all, 8, length, StandardCharsets.UTF_8);
            return new Seed(
                    Trees.JSON.readTree(directory.resolve(CONFIG).toFile()),
                    Trees.JSON.readTree(header),
                    Arrays.copyOfRange(all, 8 + length, all.length));
        }

        /// With other bytes in the last tensor.
        Kind.Input ending(byte[] last) {
            ObjectNode told = header.deepCopy();
            ObjectNode entry =
                    (ObjectNode) told.properties().stream().toList().getLast().getValue();
            int begin = entry.path("data_offsets").path(0).asInt();
            entry.putArray("data_offsets").add(begin).add(begin + last.length);
            entry.putArray("shape").add(last.length);
            byte[] numbers = Arrays.copyOf(data, begin + last.length);
            System.arraycopy(last, 0, numbers, begin, last.length);
            return input(config.toString(), told.toString(), numbers);
        }

        Kind.Input changed(SplittableRandom random) {
            int which = random.nextInt(3);
            String said = which == 0 ? Trees.changed(config, random) : config.toString();
            String told = which == 1 ? Trees.changed(header, random) : header.toString();
            byte[] numbers = data.clone();
            for (int left = which == 2 ? 1 + Trees.geometric(random) : 0; left > 0; left--) {
                int value = random.nextInt(4) == 0 ? random.nextInt(3) - 1 : random.nextInt();
                numbers[random.nextInt(numbers.length)] = (byte) value;
            }
            return input(said, told, numbers);
        }

        private static Kind.Input input(String config, String header, byte[] data) {
            return new FileInput(
                    Map.of(
                            CONFIG,
                            Texts.utf8(config),
                            WEIGHTS,
                            ModelKinds.safetensors(Texts.utf8(header), data)));
        }
    }

    /// Integers, and 4 bits with and without double quantization. The text beside the latter is the
    /// last tensor of its file.
    private static Kind.Reader bitsAndBytes(Path work) throws IOException {
        List<Seed> seeds = new ArrayList<>();
        List<JsonNode> states = new ArrayList<>();
        try (Arena memory = Arena.ofConfined()) {
            Random random = new Random(1);
            for (boolean nested : List.of(false, true)) {
                String state = state(nested);
                states.add(Trees.JSON.readTree(state));
                seeds.add(fourBits(work, memory, random, state));
            }
            seeds.add(eightBits(work, memory, random));
        }
        return reader(
                work,
                random -> {
                    int i = random.nextInt(seeds.size());
                    return i < states.size() && random.nextBoolean()
                            ? seeds.get(i).ending(Texts.utf8(Trees.changed(states.get(i), random)))
                            : seeds.get(i).changed(random);
                });
    }

    private static String state(boolean nested) {
        return "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [6, 96]"
                + (nested ? ", \"nested_blocksize\": 4, \"nested_offset\": 0.25}" : "}");
    }

    private static Seed fourBits(Path work, Arena memory, Random random, String state)
            throws IOException {
        boolean nested = state.contains("nested");
        String weight = Packed.LINEAR + ".weight";
        SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
        tensors.put(weight, Fixture.bytes(memory, random, DType.U8, 288, 1));
        tensors.put(weight + ".quant_map", Dequantizer.allocate(memory, DType.F32, 16));
        if (nested) {
            tensors.put(weight + ".nested_quant_map", Dequantizer.allocate(memory, DType.F32, 256));
            tensors.put(weight + ".nested_absmax", Dequantizer.allocate(memory, DType.F32, 3));
        }
        tensors.put(
                weight + ".absmax",
                nested
                        ? Fixture.bytes(memory, random, DType.U8, 9)
                        : Dequantizer.allocate(memory, DType.F32, 9));
        Tensor text = Dequantizer.allocate(memory, DType.U8, state.length());
        text.bytes().copyFrom(MemorySegment.ofArray(Texts.utf8(state)));
        tensors.put(weight + ".quant_state.bitsandbytes__nf4", text);
        return Seed.of(Fixture.model(work, bitsAndBytesConfig("load_in_4bit"), tensors));
    }

    private static Seed eightBits(Path work, Arena memory, Random random) throws IOException {
        return Seed.of(
                Fixture.model(
                        work,
                        bitsAndBytesConfig("load_in_8bit"),
                        Map.of(
                                Packed.LINEAR + ".weight",
                                Fixture.bytes(memory, random, DType.I8, 6, 96),
                                Packed.LINEAR + ".SCB",
                                Dequantizer.allocate(memory, DType.F32, 6),
                                Packed.LINEAR + ".weight_format",
                                Dequantizer.allocate(memory, DType.U8))));
    }

    private static String bitsAndBytesConfig(String how) {
        return "{\"model_type\": \"llama\", \"quantization_config\":"
                + " {\"quant_method\": \"bitsandbytes\", \"%s\": true}}".formatted(how);
    }

    private static Kind.Reader packed(Path work) throws IOException {
        List<Seed> seeds = new ArrayList<>();
        try (Arena memory = Arena.ofConfined()) {
            Random random = new Random(1);
            for (Scheme scheme : Packed.schemes()) {
                Packed layer = Packed.random(memory, random, scheme, 6, 96);
                seeds.add(Seed.of(layer.save(work, layer.tensors(memory))));
            }
            seeds.add(marlin(work, memory, random));
            seeds.add(sparse(work, memory, random));
        }
        return reader(work, random -> seeds.get(random.nextInt(seeds.size())).changed(random));
    }

    private static Kind.Reader reader(Path work, Function<SplittableRandom, Kind.Input> inputs) {
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                return inputs.apply(random);
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(work);
                try (Checkpoint c = Checkpoint.open(work);
                        TensorReader reader = c.reader()) {
                    c.packedLinears();
                    c.names().forEach(name -> Layouts.parameters(reader, c.info(name)));
                    reader.require(Packed.LINEAR);
                    reader.rounding(Packed.LINEAR);
                    Dequantizer.values(reader.weight(Packed.LINEAR), DType.F32, reader.arena());
                }
            }
        };
    }

    /// 64 outputs and 64 inputs, of which half are kept.
    private static Seed marlin(Path work, Arena memory, Random random) throws IOException {
        Tensor scales = Dequantizer.allocate(memory, DType.F16, 1, 64);
        String group =
                """
                {"format": "marlin-24", "targets": ["Linear"],
                 "weights": {"num_bits": 4, "type": "int", "strategy": "channel"}}\
                """;
        return Seed.of(
                Fixture.model(
                        work,
                        config("\"config_groups\": {\"group_0\": %s}".formatted(group)),
                        Map.of(
                                Packed.LINEAR + ".weight_packed",
                                Fixture.bytes(memory, random, DType.I32, 2, 128),
                                Packed.LINEAR + ".meta",
                                Fixture.bytes(memory, random, DType.I16, 2, 128),
                                Packed.LINEAR + ".scale_packed",
                                scales)));
    }

    private static Seed sparse(Path work, Arena memory, Random random) throws IOException {
        Tensor mask = Dequantizer.allocate(memory, DType.U8, 4, 2);
        mask.bytes().fill((byte) 0x55);
        Tensor shape = Dequantizer.allocate(memory, DType.I64, 2, 1);
        shape.bytes().setAtIndex(BitStream.LONG, 0, 4);
        shape.bytes().setAtIndex(BitStream.LONG, 1, 16);
        return Seed.of(
                Fixture.model(
                        work,
                        config("\"sparsity_config\": {\"format\": \"sparse-24-bitmask\"}"),
                        Map.of(
                                Packed.LINEAR + ".compressed",
                                Fixture.bytes(memory, random, DType.BF16, 4, 8),
                                Packed.LINEAR + ".bitmask",
                                mask,
                                Packed.LINEAR + ".shape",
                                shape)));
    }

    private static String config(String part) {
        return "{\"model_type\": \"llama\", \"quantization_config\":"
                + " {\"quant_method\": \"compressed-tensors\", \"format\": \"dense\", "
                + part
                + "}}";
    }
}
