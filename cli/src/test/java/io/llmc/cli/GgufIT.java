// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.TensorInfo;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.gguf.GgufBytes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Commands on the bundled model as llama.cpp's converter would write it: plain with the tokenizer
/// beside it, and in blocks with the tokenizer inside.
class GgufIT {
    private static final Map<String, String> PARTS =
            Map.ofEntries(
                    Map.entry("model.embed_tokens", "token_embd"),
                    Map.entry("model.norm", "output_norm"),
                    Map.entry("input_layernorm", "attn_norm"),
                    Map.entry("post_attention_layernorm", "ffn_norm"),
                    Map.entry("self_attn.q_proj", "attn_q"),
                    Map.entry("self_attn.k_proj", "attn_k"),
                    Map.entry("self_attn.v_proj", "attn_v"),
                    Map.entry("self_attn.o_proj", "attn_output"),
                    Map.entry("mlp.gate_proj", "ffn_gate"),
                    Map.entry("mlp.up_proj", "ffn_up"),
                    Map.entry("mlp.down_proj", "ffn_down"));

    private static final int BF16 = 30;
    private static final int Q8_0 = 8;
    private static final int HEAD = 64;

    @TempDir static Path shared;

    @TempDir Path dir;

    @BeforeAll
    static void convert() throws IOException {
        convert(shared.resolve("plain"), false);
        convert(shared.resolve("blocks"), true);
    }

    private static void convert(Path directory, boolean blocks) throws IOException {
        Files.createDirectory(directory);
        GgufBytes out =
                new GgufBytes()
                        .text("general.architecture", "llama")
                        .u32("llama.block_count", 3)
                        .u32("llama.context_length", 1024)
                        .u32("llama.embedding_length", 256)
                        .u32("llama.feed_forward_length", 512)
                        .u32("llama.attention.head_count", 4)
                        .u32("llama.attention.head_count_kv", 2)
                        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
                        .f32("llama.rope.freq_base", 10000);
        try (Checkpoint c = Checkpoint.open(Cli.TALE_LLAMA);
                TensorReader reader = c.reader()) {
            for (String name : c.names()) {
                add(out, c.info(name), reader.tensor(name), blocks);
            }
        }
        Path tokenizer = Cli.TALE_LLAMA.resolve("tokenizer.json");
        if (blocks) {
            addTokenizer(out, new ObjectMapper().readTree(tokenizer.toFile()).get("model"));
        } else {
            Files.copy(tokenizer, directory.resolve("tokenizer.json"));
        }
        Files.write(directory.resolve("model.gguf"), out.toBytes());
    }

    private static void addTokenizer(GgufBytes out, JsonNode model) {
        String[] tokens = new String[model.get("vocab").size()];
        model.get("vocab").properties().forEach(e -> tokens[e.getValue().intValue()] = e.getKey());
        List<String> merges =
                model.get("merges")
                        .valueStream()
                        .map(m ->
                                m.isTextual()
                                        ? m.asText()
                                        : m.path(0).asText() + " " + m.path(1).asText())
                        .toList();
        out.text("tokenizer.ggml.model", "gpt2")
                .text("tokenizer.ggml.pre", "gpt-2")
                .texts("tokenizer.ggml.tokens", List.of(tokens))
                .texts("tokenizer.ggml.merges", merges);
    }

    private static void add(GgufBytes out, TensorInfo info, Tensor tensor, boolean blocks) {
        String layer = "model.layers.";
        String name = info.name().substring(0, info.name().lastIndexOf('.'));
        String prefix = "";
        if (name.startsWith(layer)) {
            int dot = name.indexOf('.', layer.length());
            prefix = "blk." + name.substring(layer.length(), dot) + ".";
            name = name.substring(dot + 1);
        }
        String gguf = prefix + PARTS.get(name) + ".weight";
        boolean turns = name.equals("self_attn.q_proj") || name.equals("self_attn.k_proj");
        long[] dims = info.shape().dims();
        int cols = (int) dims[dims.length - 1];
        int rows = (int) (info.shape().size() / cols);
        boolean packs = blocks && dims.length == 2;
        ByteBuffer data =
                ByteBuffer.allocate(packs ? rows * cols / 32 * 34 : rows * cols * 2)
                        .order(ByteOrder.LITTLE_ENDIAN);
        float[] row = new float[cols];
        for (int r = 0; r < rows; r++) {
            int half = HEAD / 2;
            int inside = r % HEAD;
            int hub = turns ? r - inside + inside % 2 * half + inside / 2 : r;
            for (int i = 0; i < cols; i++) {
                row[i] = Floats.get(tensor.bytes(), DType.BF16, (long) hub * cols + i);
            }
            put(data, row, packs);
        }
        out.tensor(
                gguf, packs ? Q8_0 : BF16, dims.length == 1 ? dims : new long[] {cols, rows}, data);
    }

    private static void put(ByteBuffer data, float[] row, boolean blocks) {
        for (int i = 0; i < row.length; i++) {
            if (!blocks) {
                data.putShort(Floats.floatToBf16(row[i]));
                continue;
            }
            if (i % 32 == 0) {
                float most = 0;
                for (int j = i; j < i + 32; j++) {
                    most = Math.max(most, Math.abs(row[j]));
                }
                short scale = Float.floatToFloat16(most / 127);
                data.putShort(scale);
                for (int j = i; j < i + 32; j++) {
                    float d = Float.float16ToFloat(scale);
                    data.put((byte) (d == 0 ? 0 : Math.clamp(Math.round(row[j] / d), -127, 127)));
                }
            }
        }
    }

    private static Cli done(Cli cli) {
        assertThat(cli.exit()).as(cli.err()).isEqualTo(ExitCode.OK);
        return cli;
    }

    private double perplexity(Path model) throws IOException {
        Path json = dir.resolve("eval.json");
        Path text = dir.resolve("text.txt");
        Files.writeString(
                text, Files.readString(Cli.TALE_LLAMA.resolve("test.txt")).substring(0, 2000));
        done(
                Cli.run(
                        "eval",
                        model,
                        "--data",
                        text,
                        "--window",
                        64,
                        "--math",
                        "portable",
                        "--json",
                        json,
                        "-q"));
        JsonNode all = new ObjectMapper().readTree(json.toFile());
        Files.delete(json);
        return all.findValue("perplexity").doubleValue();
    }

    @Test
    void theSameModelHasTheSamePerplexity() throws IOException {
        double hub = perplexity(Cli.TALE_LLAMA);
        assertThat(perplexity(shared.resolve("plain"))).isEqualTo(hub);
        double blocks = perplexity(shared.resolve("blocks/model.gguf"));
        assertThat(blocks).isNotEqualTo(hub).isBetween(hub * 0.98, hub * 1.02);
    }

    @Test
    void inspectSaysWhatTheFileHas() {
        Cli cli = done(Cli.run("inspect", shared.resolve("blocks"), "-v"));
        assertThat(cli.out())
                .contains("llama (LlamaForCausalLM)", "quantization  Q8_0")
                .containsPattern("q_proj.weight +Q8_0 +\\[256, 256\\] +68.0 KiB");
    }

    /// The same bytes as from the hub's own files, side files included.
    @Test
    void plainValuesAreQuantized() throws IOException {
        for (Path model : new Path[] {Cli.TALE_LLAMA, shared.resolve("plain")}) {
            Path out = dir.resolve(model.getFileName().toString());
            done(
                    Cli.run(
                            "quantize",
                            model,
                            "-o",
                            out,
                            "--method",
                            "rtn",
                            "--math",
                            "portable",
                            "-q"));
            assertThat(out.resolve("tokenizer.json")).exists();
        }
        try (Checkpoint a = Checkpoint.open(dir.resolve("tale-llama"));
                Checkpoint b = Checkpoint.open(dir.resolve("plain"));
                TensorReader one = a.reader();
                TensorReader other = b.reader()) {
            assertThat(b.names()).containsExactlyInAnyOrderElementsOf(a.names());
            for (String name : a.names()) {
                assertThat(one.tensor(name).bytes().mismatch(other.tensor(name).bytes()))
                        .as(name)
                        .isEqualTo(-1);
            }
        }
    }

    @Test
    void blocksAreAlreadyQuantized() throws IOException {
        Path blocks = shared.resolve("blocks");
        Path out = dir.resolve("out");
        Cli cli = Cli.run("prune", blocks, "-o", out, "--method", "magnitude", "--dry-run");
        assertThat(cli.exit()).isEqualTo(ExitCode.FAILED);
        assertThat(cli.err()).contains("is already quantized");
        done(Cli.run("quantize", blocks, "-o", out, "--layout", "dense", "-q"));
        assertThat(out.resolve("tokenizer.json")).exists();
        assertThat(perplexity(out)).isEqualTo(perplexity(blocks));
    }
}
