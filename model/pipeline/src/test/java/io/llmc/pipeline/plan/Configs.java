// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import java.util.Map;

/// Sizes of models that everybody knows, and a device of round numbers.
final class Configs {
    static final String LLAMA_8B =
            """
            {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
             "max_position_embeddings": 131072, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}
            """;

    static final String MIXTRAL =
            """
            {"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8,
             "num_experts_per_tok": 2, "max_position_embeddings": 32768, "tie_word_embeddings": false,
             "torch_dtype": "bfloat16"}
            """;

    static final String GEMMA_1B =
            """
            {"model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
             "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144,
             "max_position_embeddings": 32768, "sliding_window": 512, "sliding_window_pattern": 6,
             "query_pre_attn_scalar": 256, "rope_local_base_freq": 10000, "rope_theta": 1000000,
             "hidden_activation": "gelu_pytorch_tanh", "torch_dtype": "bfloat16"}
            """;

    static final ServingSpec ALONE = new ServingSpec(16, 16, 2048, 0.1, Split.NONE);

    /// 100 GB at 1 TB/s, 100 TFLOP/s, a link of 100 GB/s.
    static final DeviceSpec ROUND =
            new DeviceSpec(
                    "round",
                    "round",
                    100e9,
                    1e12,
                    100e9,
                    Map.of(Arithmetic.F32, 10e12, Arithmetic.BF16, 100e12));

    private Configs() {}
}
