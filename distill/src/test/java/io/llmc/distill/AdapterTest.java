// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.backend.Backend;
import io.llmc.backend.BackendOptions;
import io.llmc.backend.cpu.CpuBackend;
import io.llmc.distill.spec.DistillSpec;
import io.llmc.distill.student.PeftAdapter;
import io.llmc.distill.student.TrainedModel;
import io.llmc.distill.student.WriteBack;
import io.llmc.formats.TestFiles;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.pipeline.Inputs;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.Progress;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.RecipeException;
import io.llmc.pipeline.RecipeRun;
import io.llmc.pipeline.Step;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/// Adapters that are written as peft reads them.
@Tag("long")
class AdapterTest {
    private static final Path TEACHER = TestFiles.testdata().resolve("tale-llama");
    private static final Map<String, Object> LORA =
            Map.of("lora", 4, "loraAlpha", 6, "lr", 3e-3, "adapter", true);

    @TempDir static Path shared;
    private static Path student;

    @TempDir Path temp;

    /// In F32, so that merging rounds nothing.
    @BeforeAll
    static void makeStudent() throws Exception {
        Path disturbed = shared.resolve("disturbed");
        student = shared.resolve("student");
        Runs.disturb(TEACHER, disturbed);
        Models.rewrite(disturbed, student, (_, values) -> values);
    }

    private static Step.Written run(Map<String, Object> options, Path out, int steps) {
        return Runs.run(student, TEACHER, options, out, 2, steps, Long.MAX_VALUE);
    }

    private static Map<String, Object> with(Map<String, Object> options, String key, Object value) {
        Map<String, Object> more = new LinkedHashMap<>(options);
        more.put(key, value);
        return more;
    }

    private static JsonNode config(Path adapter) throws IOException {
        return new ObjectMapper().readTree(adapter.resolve("adapter_config.json").toFile());
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void anAdapterMergedByHandIsTheMergedModel(boolean blockwise) throws Exception {
        Path adapter = temp.resolve("adapter");
        Path merged = temp.resolve("merged");
        Map<String, Object> options =
                blockwise ? with(with(LORA, "blockwise", true), "steps", 5) : LORA;
        run(options, adapter, Integer.MAX_VALUE);
        run(with(options, "adapter", false), merged, Integer.MAX_VALUE);
        assertThat(Runs.hashes(adapter))
                .containsKeys("llmc.json", "train-log.jsonl", "train-loss.svg", "tokenizer.json")
                .doesNotContainKeys("config.json", "model.safetensors");
        Path byHand = temp.resolve("by-hand");
        Models.merge(student, adapter, 6.0 / 4, byHand);
        float[] expected = Models.logits(merged);
        assertClose(Models.logits(byHand), expected);
        assertThat(distance(Models.logits(student), expected)).isGreaterThan(0.1);
    }

    private static double distance(float[] a, float[] b) {
        double most = 0;
        for (int i = 0; i < a.length; i++) {
            most = Math.max(most, Math.abs(a[i] - b[i]));
        }
        return most;
    }

    private static void assertClose(float[] actual, float[] expected) {
        assertThat(actual).hasSameSizeAs(expected).doesNotContain(Float.NaN);
        assertThat(distance(actual, expected)).isCloseTo(0, within(5e-5));
    }

    @Test
    void theConfigIsPefts() throws Exception {
        Path out = temp.resolve("out");
        run(LORA, out, Integer.MAX_VALUE);
        JsonNode config = config(out);
        assertThat(config.path("peft_type").asText()).isEqualTo("LORA");
        assertThat(config.path("task_type").asText()).isEqualTo("CAUSAL_LM");
        assertThat(config.path("r").asInt()).isEqualTo(4);
        assertThat(config.path("lora_alpha").asInt()).isEqualTo(6);
        assertThat(config.path("fan_in_fan_out").asBoolean(true)).isFalse();
        assertThat(config.path("inference_mode").asBoolean()).isTrue();
        assertThat(config.path("base_model_name_or_path").asText()).isEqualTo(student.toString());
        assertThat(config.path("target_modules").valueStream().map(JsonNode::asText))
                .containsExactly(
                        "down_proj",
                        "gate_proj",
                        "k_proj",
                        "o_proj",
                        "q_proj",
                        "up_proj",
                        "v_proj");
        var a =
                Models.matrices(out.resolve("adapter_model.safetensors"))
                        .get("base_model.model.model.layers.1.mlp.down_proj.lora_A.weight");
        assertThat(a.rows()).isEqualTo(4);
    }

    @ParameterizedTest
    @ValueSource(ints = {2, 9})
    void aKilledRunEndsInTheSameBytes(int steps) throws Exception {
        run(LORA, temp.resolve("whole"), Integer.MAX_VALUE);
        assertThatThrownBy(() -> run(LORA, temp.resolve("out"), steps))
                .isInstanceOf(Runs.Killed.class);
        run(LORA, temp.resolve("out"), Integer.MAX_VALUE);
        assertThat(Runs.hashes(temp.resolve("out"))).isEqualTo(Runs.hashes(temp.resolve("whole")));
    }

    @Test
    void aKilledBlockwiseRunEndsInTheSameBytes() throws Exception {
        Map<String, Object> options = with(with(LORA, "blockwise", true), "steps", 4);
        run(options, temp.resolve("whole"), Integer.MAX_VALUE);
        assertThatThrownBy(() -> run(options, temp.resolve("out"), 6))
                .isInstanceOf(Runs.Killed.class);
        run(options, temp.resolve("out"), Integer.MAX_VALUE);
        assertThat(Runs.hashes(temp.resolve("out"))).isEqualTo(Runs.hashes(temp.resolve("whole")));
    }

    /// GPT-2's file has no `transformer.` before its names, and weights `[in, out]`.
    @Test
    void namesAreThoseOfTransformersModules() throws Exception {
        writeUntrained("tiny-gpt2", List.of("*attn.c_proj"));
        JsonNode config = config(temp);
        assertThat(config.path("fan_in_fan_out").asBoolean()).isTrue();
        // Not c_proj, which would mean the one of the feed-forward too.
        assertThat(config.path("target_modules").get(0).asText())
                .isEqualTo("transformer.h.0.attn.c_proj");
        assertThat(Models.matrices(temp.resolve("adapter_model.safetensors")))
                .containsKeys(
                        "base_model.model.transformer.h.0.attn.c_proj.lora_A.weight",
                        "base_model.model.transformer.h.0.attn.c_proj.lora_B.weight");
        assertThat(config.path("lora_alpha").asDouble()).isEqualTo(2.5);
        writeUntrained("tiny-gpt2", List.of("c_proj"));
        assertThat(config(temp).path("target_modules").valueStream().map(JsonNode::asText))
                .containsExactly("c_proj");
    }

    private void writeUntrained(String model, List<String> targets) {
        DistillSpec spec = spec(targets);
        Path directory = TestFiles.testdata().resolve(model);
        try (Checkpoint c = Checkpoint.open(directory);
                Backend backend = new CpuBackend(new BackendOptions(1, BackendOptions.Math.AUTO));
                TrainedModel untrained = TrainedModel.of(c, backend, spec);
                Arena memory = Arena.ofShared()) {
            PeftAdapter adapter = new PeftAdapter(c, spec.lora(), directory);
            adapter.requireLoadable();
            WriteBack result = WriteBack.of(c, spec.lora(), untrained, backend);
            adapter.write(result.adapters(memory), temp);
        }
    }

    private static DistillSpec spec(List<String> targets) {
        Map<String, Object> options = new LinkedHashMap<>();
        options.put("data", TEACHER.resolve("test.txt").toString());
        options.put("loss", Map.of("ce", 1));
        options.put("lora", 2);
        options.put("loraAlpha", 2.5);
        options.put("loraTargets", targets);
        options.put("adapter", true);
        return DistillSpec.read(Options.of(options));
    }

    @Test
    void fusedExpertsAreRefused() {
        Path mixtral = TestFiles.testdata().resolve("tiny-mixtral");
        Recipe recipe = Recipe.measuring(io.llmc.model.arch.Models.of(mixtral), List.of());
        RecipeRun run = new RecipeRun(recipe, Inputs.of(recipe), "test", false);
        Step.Context context =
                new Step.Context(run, null, Long.MAX_VALUE, Progress.NONE, mixtral, null);
        assertThatThrownBy(() -> new DistillStep(spec(List.of()), System::nanoTime).check(context))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("experts")
                .satisfies(e -> assertThat(((UserException) e).hint()).contains("{loraTargets}"));
    }

    @Test
    void anAdapterNeedsARank() {
        assertThatThrownBy(() -> run(Map.of("adapter", true), temp.resolve("out"), 1))
                .isInstanceOf(RecipeException.class)
                .hasMessageContaining("set lora to its rank");
    }

    @Test
    void anAdapterIsNoModel() throws Exception {
        Files.writeString(temp.resolve("adapter_config.json"), "{}");
        assertThatThrownBy(() -> Checkpoint.open(temp).close())
                .isInstanceOf(UserException.class)
                .hasMessageContaining("holds an adapter");
    }
}
