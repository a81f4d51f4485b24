// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.databind.JsonNode;
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
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SplittableRandom;

/// One layer in each format of compressed-tensors: its config, its header or its numbers change.
final class PackedKinds {
    private static final String CONFIG = "config.json";
    private static final String WEIGHTS = "model.safetensors";

    private PackedKinds() {}

    static List<Kind> all() {
        return List.of(new Kind("packed", 40, 64, PackedKinds::packed));
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

        Kind.Input changed(SplittableRandom random) {
            int which = random.nextInt(3);
            String said = which == 0 ? Trees.changed(config, random) : config.toString();
            String told = which == 1 ? Trees.changed(header, random) : header.toString();
            byte[] numbers = data.clone();
            for (int left = which == 2 ? 1 + Trees.geometric(random) : 0; left > 0; left--) {
                int value = random.nextInt(4) == 0 ? random.nextInt(3) - 1 : random.nextInt();
                numbers[random.nextInt(numbers.length)] = (byte) value;
            }
            return new FileInput(
                    Map.of(
                            CONFIG,
                            Texts.utf8(said),
                            WEIGHTS,
                            ModelKinds.safetensors(Texts.utf8(told), numbers)));
        }
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
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                return seeds.get(random.nextInt(seeds.size())).changed(random);
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
