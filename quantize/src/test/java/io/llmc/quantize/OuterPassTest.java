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
import io.llmc.pipeline.sweep.SweepResult;
import io.llmc.tensor.Encoding;
import io.llmc.tensor.Scheme;
import io.llmc.tensor.Tiles;
import io.llmc.tensor.Weight;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// The output layer and the embedding in fewer bits, of a model that ties them. That what was
/// written computes what was in memory, every sweep checks by itself.
class OuterPassTest {
    private static final String EMBEDDING = "model.embed_tokens";
    private static final String HEAD = "lm_head";

    @TempDir Path temp;

    @ParameterizedTest
    @CsvSource({"tiny-llama, compressed-tensors, true", "tiny-gemma3_text, gptq, false"})
    void bothAreSchemesOfTheirOwnInTheConfig(String model, String layout, boolean embeddings) {
        Map<String, Object> options = new LinkedHashMap<>(Map.of("head", 8));
        if (embeddings) {
            options.put("embeddings", 4);
        }
        SweepResult result = run(model, layout, options);
        try (Checkpoint c = Checkpoint.open(result.output());
                TensorReader r = c.reader()) {
            Scheme byRow = Scheme.of(Encoding.ints(8, Tiles.ALL, true));
            assertThat(c.scheme(HEAD)).hasValue(byRow);
            assertThat(r.weight(HEAD).encoding()).isEqualTo(byRow.weights());
            assertThat(c.config().flag("tie_word_embeddings", true)).isFalse();
            assertThat(c.has(HEAD + ".weight")).isFalse();
            assertThat(c.has(EMBEDDING + ".weight")).isNotEqualTo(embeddings);
            assertThat(r.weight(EMBEDDING) instanceof Weight.Grouped).isEqualTo(embeddings);
        }
    }

    @Test
    void plainFilesHaveTheRoundedValues() {
        SweepResult result = run("tiny-llama", "dense", Map.of("head", 2));
        try (Checkpoint c = Checkpoint.open(result.output());
                TensorReader r = c.reader()) {
            byte[] head = bytes(r, HEAD);
            assertThat(head).hasSameSizeAs(bytes(r, EMBEDDING)).isNotEqualTo(bytes(r, EMBEDDING));
        }
    }

    private static byte[] bytes(TensorReader r, String linear) {
        return r.tensor(linear + ".weight")
                .bytes()
                .toArray(java.lang.foreign.ValueLayout.JAVA_BYTE);
    }

    @Test
    void readersOfGptqLookUpPlainRows() {
        assertThatThrownBy(() -> run("tiny-llama", "gptq", Map.of("embeddings", 8)))
                .isInstanceOf(UserException.class)
                .hasMessage("no reader of layout gptq looks for a packed token embedding");
    }

    private SweepResult run(String model, String layout, Map<String, Object> options) {
        Map<String, Object> tree = new LinkedHashMap<>();
        Path out = temp.resolve("out");
        tree.put("model", TestFiles.testdata().resolve(model).toString());
        tree.put("output", out.toString());
        Map<String, Object> rtn = Map.of("rtn", Map.of("bits", 4, "groupSize", 16));
        tree.put("steps", List.of(Map.of("sweep", List.of(Map.of("outer", options), rtn))));
        tree.put("save", Map.of("layout", layout));
        Recipe recipe = Recipe.read(Options.of(tree), SweepTest.STEPS, tree);
        try (Backend backend = new CpuBackend(BackendOptions.defaults())) {
            return SweepTest.run(recipe, out, backend, Long.MAX_VALUE, Progress.NONE);
        }
    }
}
