// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.arch;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.formats.FormatException;
import io.llmc.formats.HfConfig;
import io.llmc.formats.UserException;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.TensorTable;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/// Whether a model is one of another family in all but name: the family reads every key of its
/// config.json that could mean something and every tensor, and finds all that it reads.
final class Fit {
    /// Keys, wherever they stand, that say nothing about what a model computes from a text: names,
    /// training, initial values, caches, and whether there are tensors of which each is read or
    /// refused.
    private static final Set<String> HARMLESS =
            Set.of(
                    """
                    _attn_implementation_autoset _name_or_path activation_dropout architectures
                    attention_bias attention_dropout attention_softmax_in_fp32 attn_dropout
                    attn_pdrop auto_map aux_loss_alpha aux_loss_coef bias_dropout_fusion
                    bos_token_id cache_implementation dropout dtype emb_pdrop embd_pdrop
                    embedding_dropout eos_token_id ep_size for_llm_compressor ffn_dropout
                    gradient_checkpointing hidden_dropout id2label inference_runner init_device
                    init_method init_std initializer_range input_jitter_noise label2id layerdrop
                    lm_head_bias load_balance_coeff mamba_chunk_size masked_softmax_fusion
                    mlp_bias model_max_length model_type moe_capacity mtp_num_hidden_layers
                    mtp_transformer_layers mtp_use_dedicated_embeddings num_logits_to_keep
                    num_mtp_modules num_nextn_predict_layers output_router_logits pad_token_id
                    pretraining_tp quantization_config rescale_prenorm_residual resid_pdrop
                    residual_dropout router_aux_loss_coef router_jitter_noise seq_aux
                    task_specific_params time_step_floor time_step_init_scheme time_step_max
                    time_step_min time_step_scale torch_dtype transformers_version unk_token_id
                    unsloth_version use_associative_scan use_cache use_grouped_mm use_mamba_kernels
                    use_mambapy use_mtp z_loss_coefficient\
                    """
                            .split("\\s+"));

    private Fit() {}

    /// @return a sentence that says what it is read as
    /// @throws UserException where it is not quite that, naming the key or the tensor
    static String require(Checkpoint c) {
        HfConfig config = c.config();
        require(config, c.names());
        ModelSpec spec = Architectures.specOf(c);
        TensorTable table = new TensorTable(spec, Architectures.of(config));
        try {
            table.requireIn(c);
        } catch (FormatException | UserException e) {
            throw misfit(config, e.getMessage());
        }
        String head = Architectures.naming(config, c.names()).storedHead();
        boolean copied = spec.tied() && !ModelDirectory.hasOtherHead(c, spec, head);
        for (String name : table.unread(c)) {
            if (!copied || !name.equals(head + ".weight")) {
                throw misfit(
                        config,
                        "%s: it does not read the tensor '%s'".formatted(c.file(name), name));
            }
        }
        return "%s: %s is not known to llmc, and is read as %s, which it fits in every key and tensor"
                .formatted(c.directory(), config.ownModelType(), config.modelType());
    }

    /// The config's part of it.
    ///
    /// @param tensors none where there is a config alone
    static void require(HfConfig config, Set<String> tensors) {
        if (config.multimodal()) {
            throw misfit(
                    config,
                    "%s: only models of text alone are treated as others".formatted(config.file()));
        }
        Set<String> asked = new TreeSet<>();
        try {
            Architectures.specOf(config.watched(asked::add), tensors);
        } catch (FormatException | UserException e) {
            throw misfit(config, e.getMessage());
        }
        String unread =
                leaves("", config.json())
                        .filter(key -> !asked.contains(key))
                        .map("'%s'"::formatted)
                        .collect(Collectors.joining(", "));
        if (!unread.isEmpty()) {
            throw misfit(config, "%s: it does not read %s".formatted(config.file(), unread));
        }
    }

    /// Paths of all values that are not null, and that may mean something.
    private static Stream<String> leaves(String path, JsonNode node) {
        return node.properties().stream()
                .filter(e -> !e.getValue().isNull() && !HARMLESS.contains(e.getKey()))
                .flatMap(e ->
                        e.getValue().isObject() && !e.getValue().isEmpty()
                                ? leaves(path + e.getKey() + ".", e.getValue())
                                : Stream.of(path + e.getKey()));
    }

    private static UserException misfit(HfConfig config, String why) {
        return new UserException(
                "a %s cannot be treated as %s: %s"
                        .formatted(config.ownModelType(), config.modelType(), why),
                "only a model that is one of another family in all but name can be; llmc"
                        + " architectures lists what else there is");
    }
}
