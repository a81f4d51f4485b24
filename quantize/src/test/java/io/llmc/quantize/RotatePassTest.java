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
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.tensor.DType;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/// Rotations in a sweep. That they change nothing but weights, GoldenTest shows.
class RotatePassTest {
    private static final Map<String, Object> RTN =
            Map.of("rtn", Map.of("bits", 4, "groupSize", 16));

    @TempDir Path temp;

    private static Recipe recipe(String model, String rotations, List<Map<String, Object>> behind) {
        Map<String, Object> tree = new LinkedHashMap<>();
        tree.put("model", TestFiles.testdata().resolve(model).toString());
        tree.put("output", "unused");
        List<Map<String, Object>> passes = new java.util.ArrayList<>();
        passes.add(Map.of("rotate", Map.of("rotations", rotations)));
        passes.addAll(behind);
        tree.put("steps", List.of(Map.of("sweep", passes)));
        tree.put("save", Map.of("layout", behind.isEmpty() ? "dense" : "compressed-tensors"));
        return Recipe.read(Options.of(tree), SweepTest.STEPS, tree);
    }

    private static void run(Recipe recipe, Path out, int threads) {
        try (Backend backend =
                new CpuBackend(new BackendOptions(threads, BackendOptions.Math.AUTO))) {
            long needs = SweepTest.plan(recipe, out, backend, Long.MAX_VALUE).peakBytes();
            SweepTest.run(recipe, out, backend, needs, Progress.NONE);
        }
    }

    @Test
    void theResultIsAPlainModelOfTheSameArchitecture() {
        Path out = temp.resolve("out");
        run(recipe("tiny-qwen3", "both", List.of()), out, 2);
        try (Checkpoint c = Checkpoint.open(out);
                TensorReader r = c.reader()) {
            assertThat(c.config().flag("tie_word_embeddings", true)).isFalse();
            assertThat(c.info("lm_head.weight").dtype()).isEqualTo(DType.BF16);
            short[] norm =
                    r.tensor("model.layers.1.input_layernorm.weight")
                            .bytes()
                            .toArray(ValueLayout.JAVA_SHORT);
            assertThat(norm).containsOnly((short) 0x3f80);
        }
    }

    @Test
    void threadsAndDeathDoNotChangeABit() throws Exception {
        Recipe recipe = recipe("tiny-llama", "both", List.of(RTN));
        Path calm = temp.resolve("calm");
        run(recipe, calm, 2);
        Path out = temp.resolve("out");
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            assertThatThrownBy(() ->
                            SweepTest.run(
                                    recipe, out, backend, Long.MAX_VALUE, SweepTest.dyingAfter(0)))
                    .isInstanceOf(SweepTest.Killed.class);
        }
        run(recipe, out, 1);
        assertThat(Files.readAllBytes(out.resolve("model.safetensors")))
                .isEqualTo(Files.readAllBytes(calm.resolve("model.safetensors")));
    }

    @Test
    void normsBehindBranchesKeepTheStream() {
        Path out = temp.resolve("out");
        assertThatThrownBy(() -> run(recipe("tiny-gemma3_text", "both", List.of(RTN)), out, 1))
                .isInstanceOf(UserException.class)
                .hasMessage(
                        "the stream of a gemma3_text cannot be turned: its norms after attention and feed-forward scale single channels of what is added to the stream, which a rotation mixes");
        run(recipe("tiny-gemma3_text", "heads", List.of(RTN)), out, 1);
        assertThat(out.resolve("model.safetensors")).exists();
    }
}
