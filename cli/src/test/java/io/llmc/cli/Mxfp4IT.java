// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.formats.HfConfig;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.safetensors.CheckpointWriter;
import io.llmc.model.arch.ModelDirectory;
import io.llmc.model.arch.Samples;
import io.llmc.tensor.DType;
import io.llmc.tensor.Shape;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// gpt-oss as it is published, with experts of four bits, beside the same values in BF16 as
/// transformers saves them.
class Mxfp4IT {
    private static final int EXPERTS = 4;
    private static final int HIDDEN = 64;
    private static final int INTERMEDIATE = 32;
    private static final float[] CODES = {
        0, .5f, 1, 1.5f, 2, 3, 4, 6, -0f, -.5f, -1, -1.5f, -2, -3, -4, -6
    };

    private final Random random = new Random(3);

    @TempDir Path dir;
    private Path published;
    private Path plain;

    /// Bytes of tensors by name, and what they are.
    private static final class Model {
        private final List<TensorInfo> plan = new ArrayList<>();
        private final Map<String, byte[]> bytes = new LinkedHashMap<>();

        void add(String name, DType type, byte[] data, long... dims) {
            plan.add(new TensorInfo(name, type, new Shape(dims)));
            bytes.put(name, data);
        }

        void write(Path directory, HfConfig config) throws IOException {
            Files.createDirectories(directory);
            config.write(directory.resolve("config.json"));
            try (CheckpointWriter writer =
                            CheckpointWriter.create(directory, plan, Long.MAX_VALUE, false);
                    Arena arena = Arena.ofConfined()) {
                for (TensorInfo info : plan) {
                    MemorySegment memory = arena.allocate(info.byteSize(), 64);
                    memory.copyFrom(MemorySegment.ofArray(bytes.get(info.name())));
                    writer.write(info.name(), Tensor.of(memory, info.dtype(), info.shape().dims()));
                }
                writer.finish();
            }
            for (String file : List.of("tokenizer.json")) {
                Files.copy(Cli.TALE_LLAMA.resolve(file), directory.resolve(file));
            }
        }
    }

    @BeforeEach
    void write() throws IOException {
        published = dir.resolve("published");
        plain = dir.resolve("plain");
        HfConfig config =
                Samples.of("gpt_oss")
                        .with("vocab_size", 1024)
                        .with("hidden_size", HIDDEN)
                        .with("intermediate_size", INTERMEDIATE)
                        .with("num_local_experts", EXPERTS)
                        .with("num_hidden_layers", 2);
        Model packed = new Model();
        Model values = new Model();
        try (Checkpoint outline = ModelDirectory.outline(config)) {
            for (String name : outline.names()) {
                if (!name.contains(".experts.")) {
                    TensorInfo info = outline.info(name);
                    byte[] data = new byte[2 * (int) info.shape().size()];
                    for (int i = 0; i < data.length / 2; i++) {
                        set(data, i, (float) random.nextGaussian() / 8);
                    }
                    packed.add(name, DType.BF16, data, info.shape().dims());
                    values.add(name, DType.BF16, data, info.shape().dims());
                }
            }
        }
        for (int layer = 0; layer < 2; layer++) {
            String p = "model.layers.%d.mlp.experts.".formatted(layer);
            experts(p + "gate_up_proj", 2 * INTERMEDIATE, HIDDEN, packed, values);
            experts(p + "down_proj", HIDDEN, INTERMEDIATE, packed, values);
        }
        ObjectNode quantization = new ObjectMapper().createObjectNode();
        quantization.put("quant_method", "mxfp4");
        quantization.putArray("modules_to_not_convert").add("model.layers.*.self_attn");
        packed.write(published, config.with("quantization_config", quantization));
        values.write(plain, config);
    }

    /// Draws codes and exponents; the plain values stand inputs first, as transformers has them.
    private void experts(String name, int out, int in, Model packed, Model values) {
        byte[] blocks = new byte[EXPERTS * out * in / 2];
        byte[] scales = new byte[EXPERTS * out * in / 32];
        byte[] dense = new byte[2 * EXPERTS * out * in];
        byte[] bias = new byte[2 * EXPERTS * out];
        random.nextBytes(blocks);
        for (int i = 0; i < scales.length; i++) {
            scales[i] = (byte) (121 + random.nextInt(3));
        }
        for (int i = 0; i < EXPERTS * out; i++) {
            set(bias, i, (float) random.nextGaussian() / 8);
        }
        for (int i = 0; i < EXPERTS * out * in; i++) {
            int code = blocks[i / 2] >> 4 * (i % 2) & 15;
            float value = CODES[code] * (float) Math.pow(2, scales[i / 32] - 127);
            int expert = i / (out * in);
            set(dense, expert * out * in + i % in * out + i / in % out, value);
        }
        packed.add(name + "_blocks", DType.U8, blocks, EXPERTS, out, in / 32, 16);
        packed.add(name + "_scales", DType.U8, scales, EXPERTS, out, in / 32);
        packed.add(name + "_bias", DType.BF16, bias, EXPERTS, out);
        values.add(name, DType.BF16, dense, EXPERTS, in, out);
        values.add(name + "_bias", DType.BF16, bias, EXPERTS, out);
    }

    private static void set(byte[] bf16, int i, float value) {
        int bits = Float.floatToRawIntBits(value) >>> 16;
        bf16[2 * i] = (byte) bits;
        bf16[2 * i + 1] = (byte) (bits >> 8);
    }

    private static String done(Object... args) {
        Cli cli = Cli.run(args);
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        return cli.out() + cli.err();
    }

    private static void assertSame(Path one, Path other) {
        try (Checkpoint a = Checkpoint.open(one);
                Checkpoint b = Checkpoint.open(other);
                TensorReader left = a.reader();
                TensorReader right = b.reader()) {
            assertThat(a.names()).containsExactlyInAnyOrderElementsOf(b.names());
            for (String name : a.names()) {
                assertThat(a.info(name)).isEqualTo(b.info(name));
                assertThat(left.tensor(name).bytes().mismatch(right.tensor(name).bytes()))
                        .as(name)
                        .isEqualTo(-1);
            }
        }
    }

    @Test
    void theValuesAreTheSame() throws IOException {
        assertSame(published, plain);
        Path json = dir.resolve("eval.json");
        Path text = Cli.TALE_LLAMA.resolve("test.txt");
        String said =
                done(
                        "eval",
                        published,
                        "--against",
                        plain,
                        "--data",
                        text,
                        "--window",
                        32,
                        "--max-windows",
                        2,
                        "--json",
                        json);
        assertThat(said).contains("packed as MXFP4, are read as the BF16 values");
        JsonNode figures = new ObjectMapper().readTree(json.toFile());
        assertThat(figures.path("kld_max").asDouble()).isZero();
        assertThat(done("inspect", published)).contains("gpt_oss", "MXFP4").doesNotContain("U8");
    }

    /// What is made of either is the same, and what is not rounded is stored as transformers has
    /// it.
    @Test
    void whatIsMadeOfItIsTheSame() throws IOException {
        for (List<Object> work :
                List.<List<Object>>of(
                        List.of("prune", "--method", "experts", "--keep", 3, "--calib-length", 16),
                        List.of("quantize", "--method", "rtn", "--bits", 8, "--group-size", 32))) {
            List<Path> made = new ArrayList<>();
            for (Path model : List.of(published, plain)) {
                Path out = dir.resolve(work.getFirst() + "-" + model.getFileName());
                List<Object> args = new ArrayList<>(work);
                args.addAll(1, List.of(model, "-o", out));
                if (work.contains("experts")) {
                    args.addAll(
                            List.of(
                                    "--calib-data",
                                    Cli.TALE_LLAMA.resolve("test.txt"),
                                    "--calib-samples",
                                    2));
                }
                done(args.toArray());
                made.add(out);
            }
            assertSame(made.getFirst(), made.getLast());
            assertThat(Files.readString(made.getFirst().resolve("config.json")))
                    .isEqualTo(Files.readString(made.getLast().resolve("config.json")))
                    .doesNotContain("mxfp4");
        }
        try (Checkpoint pruned = Checkpoint.inspect(dir.resolve("prune-published"))) {
            assertThat(pruned.stacks()).hasSize(8);
        }
    }

    @Test
    void blocksWithoutScalesAreRefused() throws IOException {
        Model half = new Model();
        half.add(
                "model.layers.0.mlp.experts.down_proj_blocks", DType.U8, new byte[64], 1, 2, 2, 16);
        Path model = dir.resolve("half");
        half.write(model, Samples.of("gpt_oss"));
        Cli cli = Cli.run("inspect", model);
        assertThat(cli.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err())
                .contains("down_proj_blocks' is", "beside nothing", "down_proj_scales', U8");
    }
}
