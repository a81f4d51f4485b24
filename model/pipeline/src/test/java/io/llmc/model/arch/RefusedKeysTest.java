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
                "kimi_linear | num_expert_group | 3",
                "kimi_linear | moe_router_activation_func | \"tanh\"",
                "mimo_v2_flash | hybrid_layer_pattern | [0, 1, 0, 1]",
                "mimo_v2_flash | moe_layer_freq | [0, 1, 0, 1]",
                "mimo_v2_flash | swa_num_key_value_heads | 2",
                "mimo_v2_flash | add_swa_attention_sink_bias | false",
                "deepseek_v2 | scoring_func | \"sqrtsoftplus\"",
                "deepseek_v3 | scoring_func | \"tanh\"",
                "deepseek_v3 | topk_method | \"random\"",
                "deepseek_v4 | topk_method | \"greedy\"",
                "glm_moe_dsa | scoring_func | \"tanh\"",
                "afmoe | score_func | \"tanh\"",
                "afmoe | num_expert_groups | 2",
                "cohere2_moe | expert_selection_fn | \"tanh\"",
                "minimax_m2 | attn_type_list | [1, 0, 1, 1]",
                "minimax_m2 | shared_intermediate_size | 64",
                "mpt | alibi_bias_max | 16",
                "olmoe | clip_qkv | 8.0",
                "phimoe | num_experts_per_tok | 4",
                "mpt | logit_scale | 0.5",
                "granitemoehybrid | normalization_function | \"layernorm\"",
                "gemma3n_text | num_kv_shared_layers | null",
            })
    void aSentenceNamesTheKey(String type, String key, String value) throws IOException {
        HfConfig sample = Samples.of(type);
        assertThat(Architectures.specOf(sample).modelType()).isEqualTo(type);
        JsonNode node = new ObjectMapper().readTree(value);
        HfConfig plain = type.startsWith("mimo") ? sample.with("layer_types", null) : sample;
        HfConfig config =
                key.startsWith("alibi")
                        ? plain.with(
                                "attn_config", new ObjectMapper().createObjectNode().set(key, node))
                        : plain.with(key, node.isNull() ? null : node);
        assertThatThrownBy(() -> Architectures.specOf(config)).hasMessageContaining(key);
    }
}
