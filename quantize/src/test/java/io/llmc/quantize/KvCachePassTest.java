// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.model.arch.ModelDirectory;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.tensor.CacheScheme;
import io.llmc.tensor.Codes;
import io.llmc.tensor.Floats;
import io.llmc.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Scales of the KV cache, found and written. That what was written computes what was in memory,
/// with rounded keys and values, every sweep checks by itself.
class KvCachePassTest {
    private static final Path MODEL = TestFiles.testdata().resolve("tale-llama");

    @TempDir Path temp;

    @Test
    void scalesAreThereForEveryLayerAndAreRead() {
        SweepResult result = run("one", "compressed-tensors", Map.of());
        List<String> notes = new ArrayList<>();
        try (Checkpoint c = ModelDirectory.open(result.output(), notes::add);
                TensorReader r = c.reader()) {
            assertThat(notes).isEmpty();
            assertThat(c.kvCache()).hasValue(new CacheScheme(Codes.Floats.E4M3, false));
            for (int layer = 0; layer < 3; layer++) {
                for (String name : List.of("k_scale", "v_scale")) {
                    Tensor scale = r.tensor("model.layers.%d.self_attn.%s".formatted(layer, name));
                    assertThat(scale.isVector(1)).isTrue();
                    assertThat(value(scale, 0)).isPositive().isLessThan(1);
                }
            }
        }
    }

    @Test
    void headsMayHaveScalesOfTheirOwn() {
        SweepResult result = run("heads", "compressed-tensors", Map.of("scales", "head"));
        try (Checkpoint c = Checkpoint.open(result.output());
                TensorReader r = c.reader()) {
            assertThat(c.kvCache()).hasValue(new CacheScheme(Codes.Floats.E4M3, true));
            Tensor scales = r.tensor("model.layers.0.self_attn.k_scale");
            assertThat(scales.shape().dims()).containsExactly(2, 1, 1);
            assertThat(value(scales, 0)).isPositive().isNotEqualTo(value(scales, 1));
        }
    }

    /// Latents are one head's keys, and its values.
    @Test
    void latentsHaveOneScale() throws IOException {
        Path source = TestFiles.shared("oracles/architectures/deepseek_v3");
        assumeTrue(Files.exists(source), "no ../shared");
        Path model = Files.createDirectory(temp.resolve("latents"));
        for (String file : List.of("config.json", "model.safetensors")) {
            Files.copy(source.resolve(file), model.resolve(file));
        }
        String words =
                IntStream.range(0, 90)
                        .mapToObj("\"w%1$d\": %1$d"::formatted)
                        .collect(Collectors.joining(", "));
        Files.writeString(
                model.resolve("tokenizer.json"),
                """
                {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
                 "model": {"type": "WordLevel", "vocab": {%s}, "unk_token": "w0"}}
                """
                        .formatted(words));
        Path text =
                Files.writeString(
                        temp.resolve("text.txt"),
                        IntStream.range(0, 600)
                                .mapToObj(i -> "w" + i * 37L % 90)
                                .collect(Collectors.joining(" ")));
        Map<String, Object> data = Map.of("data", text.toString(), "samples", 8, "length", 32);
        Map<String, Object> rtn = Map.of("bits", 8, "groupSize", "channel");
        SweepResult result =
                run(model, "scaled", data, rtn, "compressed-tensors", Map.of("scales", "head"));
        try (Checkpoint c = Checkpoint.open(result.output());
                TensorReader r = c.reader()) {
            for (String name : List.of("k_scale", "v_scale")) {
                Tensor scale = r.tensor("model.layers.0.self_attn." + name);
                assertThat(scale.shape().dims()).containsExactly(1, 1, 1);
                assertThat(value(scale, 0)).isPositive().isLessThan(1);
            }
        }
    }

    /// The model's threads and a second run find the same.
    @Test
    void theSameBytesTwice() {
        SweepResult a = run("a", "compressed-tensors", Map.of());
        SweepResult b = run("b", "compressed-tensors", Map.of());
        try (Checkpoint first = Checkpoint.open(a.output());
                Checkpoint second = Checkpoint.open(b.output());
                TensorReader r = first.reader();
                TensorReader s = second.reader()) {
            for (String name : first.names()) {
                assertThat(r.tensor(name).bytes().mismatch(s.tensor(name).bytes()))
                        .as(name)
                        .isEqualTo(-1);
            }
        }
    }

    @Test
    void layoutsWithoutAPlaceForScalesRefuse() {
        for (String layout : List.of("gptq", "dense")) {
            assertThatThrownBy(() -> run("no", layout, Map.of()))
                    .isInstanceOf(UserException.class)
                    .hasMessage(
                            "layout %s has no place for the scales of a KV cache"
                                    .formatted(layout));
        }
    }

    private static float value(Tensor t, int i) {
        return Floats.get(t.bytes(), t.dtype(), i);
    }

    private SweepResult run(String name, String layout, Map<String, Object> options) {
        String data = MODEL.resolve("calibration.txt").toString();
        Map<String, Object> calibration = Map.of("data", data, "samples", 8, "length", 64);
        return run(MODEL, name, calibration, Map.of("bits", 4, "groupSize", 64), layout, options);
    }

    private SweepResult run(
            Path model,
            String name,
            Map<String, Object> calibration,
            Map<String, Object> rtn,
            String layout,
            Map<String, Object> options) {
        Map<String, Object> tree = new LinkedHashMap<>();
        Path out = temp.resolve(name);
        tree.put("model", model.toString());
        tree.put("output", out.toString());
        tree.put("calibration", calibration);
        tree.put(
                "steps",
                List.of(Map.of("sweep", List.of(Map.of("rtn", rtn), Map.of("kvCache", options)))));
        tree.put("save", Map.of("layout", layout));
        Recipe recipe = Recipe.read(Options.of(tree), SweepTest.STEPS, tree);
        int threads = name.equals("a") ? 1 : 2;
        try (Backend backend =
                new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
            return SweepTest.run(recipe, out, backend, Long.MAX_VALUE, Progress.NONE);
        }
    }
}
