// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.HfConfig;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.arch.ModelDirectory;
import io.llmc.model.arch.Samples;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.ModelPass;
import java.io.IOException;
import java.util.Map;
import org.junit.jupiter.api.Test;

/// What a config says of each layer goes with the layer, and nothing else does.
class LayersConfigTest {
    private static JsonNode json(String text) throws IOException {
        return new ObjectMapper().readTree(text);
    }

    private static JsonNode withoutOne(HfConfig config) {
        ModelPass pass =
                (ModelPass)
                        LayersPass.FACTORY.read().apply(new Options("", Map.of("drop", 1), k -> k));
        try (Checkpoint whole = ModelDirectory.outline(config);
                Checkpoint rest = pass.outline(whole)) {
            return rest.config().json();
        }
    }

    @Test
    void aLetterOfEachLayer() {
        JsonNode rest = withoutOne(Samples.of("nemotron_h"));
        assertThat(rest.path("hybrid_override_pattern").asText()).hasSize(3).contains("M");
    }

    @Test
    void typesThatNothingElseSays() {
        assertThat(withoutOne(Samples.of("mimo_v2_flash")).path("layer_types")).hasSize(3);
        assertThat(withoutOne(Samples.of("gemma4_text")).path("layer_types")).hasSize(3);
    }

    /// Llama 4 has names of its own for kinds of attention.
    @Test
    void kindsThatAnotherKeyTells() throws IOException {
        HfConfig turns =
                Samples.of("llama4_text")
                        .with("layer_types", null)
                        .with("no_rope_layers", json("[1, 1, 1, 0]"));
        JsonNode rest = withoutOne(turns);
        assertThat(rest.path("no_rope_layers")).hasSize(3);
        assertThat(rest.has("layer_types")).isFalse();
    }

    /// The first Falcons count layers under a key that transformers 5 does not read.
    @Test
    void layersUnderAnOlderKey() {
        HfConfig falcon = Samples.of("falcon").with("num_hidden_layers", null).with("n_layer", 4);
        JsonNode rest = withoutOne(falcon);
        assertThat(rest.path("num_hidden_layers").asInt()).isEqualTo(3);
        assertThat(rest.has("n_layer")).isFalse();
        HfConfig bloom = Samples.of("bloom").with("n_layer", null).with("num_hidden_layers", 4);
        assertThat(withoutOne(bloom).path("n_layer").asInt()).isEqualTo(3);
        assertThat(withoutOne(bloom).has("num_hidden_layers")).isFalse();
    }

    /// As many as there are layers by chance.
    @Test
    void numbersOfTheWholeModel() throws IOException {
        JsonNode limits = json("[0.0, 8.0]");
        HfConfig mamba =
                Samples.of("mamba2").with("num_hidden_layers", 2).with("time_step_limit", limits);
        assertThat(withoutOne(mamba).path("time_step_limit")).isEqualTo(limits);
        JsonNode multipliers = json("[1.3, 0.6]");
        HfConfig falcon =
                Samples.of("falcon_h1")
                        .with("num_hidden_layers", 2)
                        .with("mlp_multipliers", multipliers);
        assertThat(withoutOne(falcon).path("mlp_multipliers")).isEqualTo(multipliers);
    }
}
