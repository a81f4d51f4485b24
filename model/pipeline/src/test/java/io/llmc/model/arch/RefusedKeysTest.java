// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.llmc.formats.HfConfig;
import java.io.IOException;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/// Keys that ask for another model than llmc would compute.
class RefusedKeysTest {
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "nemotron_h | moe_latent_size | 32",
                "kimi_linear | num_expert_group | 2",
                "mimo_v2_flash | hybrid_layer_pattern | [0, 1, 0, 1]",
                "gemma3n_text | num_kv_shared_layers | null",
            })
    void aSentenceNamesTheKey(String type, String key, String value) throws IOException {
        HfConfig sample = Samples.of(type);
        assertThat(Architectures.specOf(sample).modelType()).isEqualTo(type);
        JsonNode node = new ObjectMapper().readTree(value);
        HfConfig config =
                (type.startsWith("mimo") ? sample.with("layer_types", null) : sample)
                        .with(key, node.isNull() ? null : node);
        assertThatThrownBy(() -> Architectures.specOf(config)).hasMessageContaining(key);
    }
}
