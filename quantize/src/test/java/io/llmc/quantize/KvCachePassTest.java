// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

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
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
        Map<String, Object> tree = new LinkedHashMap<>();
        Path out = temp.resolve(name);
        String data = MODEL.resolve("calibration.txt").toString();
        tree.put("model", MODEL.toString());
        tree.put("output", out.toString());
        tree.put("calibration", Map.of("data", data, "samples", 8, "length", 64));
        Map<String, Object> rtn = Map.of("rtn", Map.of("bits", 4, "groupSize", 64));
        tree.put("steps", List.of(Map.of("sweep", List.of(rtn, Map.of("kvCache", options)))));
        tree.put("save", Map.of("layout", layout));
        Recipe recipe = Recipe.read(Options.of(tree), SweepTest.STEPS, tree);
        int threads = name.equals("a") ? 1 : 2;
        try (Backend backend =
                new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
            return SweepTest.run(recipe, out, backend, Long.MAX_VALUE, Progress.NONE);
        }
    }
}
