// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import java.util.List;
import java.util.Optional;

/// Keys of config.json that have one value in everything published: with another, readers would
/// compute something else, and llmc does not.
final class Assumed {
    /// A `model_type`, a key and the value that it has in JSON; null where it is not there. Of a
    /// list, the value of all that it holds.
    private static final List<String[]> KEYS =
            """
            afmoe               n_group                             1
            afmoe               num_expert_groups                   1
            afmoe               num_limited_groups                  1
            afmoe               topk_group                          1
            apertus             post_norm                           false
            apertus             qk_norm                             true
            bloom               slow_but_exact                      false
            cohere2             position_embedding_type             "rope_gptj"
            cohere2             use_gated_activation                true
            cohere2             use_parallel_block                  true
            deepseek_v4         hidden_act                          "silu"
            deepseek_v4         topk_method                         "noaux_tc"
            ernie4_5_moe        moe_gate                            "topk"
            ernie4_5_moe        moe_use_aux_free                    true
            falcon_h1           attention_bias                      false
            falcon_h1           hidden_act                          "silu"
            falcon_h1           mamba_norm_before_gate              false
            falcon_h1           mamba_proj_bias                     false
            falcon_h1           mamba_use_mlp                       true
            falcon_h1           mlp_bias                            false
            falcon_h1           projectors_bias                     false
            falcon_mamba        hidden_act                          "silu"
            gemma3n_text        altup_active_idx                    0
            glm5_next_text      hidden_act                          "silu"
            gpt2                add_cross_attention                 false
            gpt_bigcode         add_cross_attention                 false
            gptj                rotary                              true
            granitemoehybrid    hidden_act                          "silu"
            granitemoehybrid    normalization_function              "rmsnorm"
            jamba               hidden_act                          "silu"
            jamba               mamba_inner_layernorms              true
            jamba               sliding_window                      null
            kimi_linear         hidden_act                          "silu"
            kimi_linear         mla_use_nope                        true
            kimi_linear         use_grouped_topk                    true
            longcat_flash       attention_method                    "MLA"
            mamba               hidden_act                          "silu"
            mamba2              hidden_act                          "silu"
            mimo_v2_flash       add_full_attention_sink_bias        false
            mimo_v2_flash       add_swa_attention_sink_bias         true
            minimax_m2          attn_type_list                      1
            minimax_m2          layernorm_full_attention_alpha      1
            minimax_m2          layernorm_full_attention_beta       1
            minimax_m2          layernorm_mlp_alpha                 1
            minimax_m2          layernorm_mlp_beta                  1
            minimax_m2          qk_norm_type                        "per_layer"
            minimax_m2          scoring_func                        "sigmoid"
            minimax_m2          shared_intermediate_size            0
            minimax_m2          use_qk_norm                         true
            minimax_m2          use_routing_bias                    true
            mpt                 attn_config.alibi_bias_max          8
            mpt                 attn_config.attn_type               "multihead_attention"
            mpt                 attn_config.attn_uses_sequence_id   false
            mpt                 attn_config.prefix_lm               false
            mpt                 embedding_fraction                  1
            mpt                 logit_scale                         null
            mpt                 no_bias                             true
            nemotron_h          mamba_hidden_act                    "silu"
            nemotron_h          mlp_hidden_act                      "relu2"
            olmoe               clip_qkv                            null
            phimoe              num_experts_per_tok                 2
            qwen3_5_moe_text    attn_output_gate                    true
            qwen3_5_moe_text    hidden_act                          "silu"
            qwen3_5_text        attn_output_gate                    true
            qwen3_5_text        hidden_act                          "silu"
            qwen3_next          hidden_act                          "silu"
            qwen3_next          use_sliding_window                  false\
            """
                    .lines()
                    .map(line -> line.strip().split("\\s+", 3))
                    .toList();

    private Assumed() {}

    /// @param c of a text decoder
    /// @throws FormatException where a key has another value, naming both
    static void require(HfConfig c) {
        String type = c.modelType();
        for (String[] entry : KEYS) {
            if (!entry[0].equals(type)) {
                continue;
            }
            int dot = entry[1].indexOf('.');
            String key = entry[1].substring(dot + 1);
            Optional<HfConfig> at = dot < 0 ? Optional.of(c) : c.within(entry[1].substring(0, dot));
            if (at.isPresent() && at.get().has(key)) {
                JsonNode value = at.get().json().get(key);
                if (!holds(value, entry[2])) {
                    throw at.get()
                            .wrong(
                                    key,
                                    entry[2].equals("null")
                                            ? "none of it, as in every published " + type
                                            : "%s, as in every published %s"
                                                    .formatted(entry[2], type));
                }
            }
        }
    }

    private static boolean holds(JsonNode value, String expected) {
        if (value.isArray()) {
            return value.valueStream().allMatch(one -> holds(one, expected));
        }
        return value.isNumber() && expected.matches("[0-9.]+")
                ? value.doubleValue() == Double.parseDouble(expected)
                : value.toString().equals(expected);
    }
}
