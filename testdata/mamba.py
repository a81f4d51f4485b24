"""The tiny models of tiny.py that have state spaces with a state for each channel: Mamba, Falcon Mamba and Jamba.

Sizes are odd on purpose: channels fill no whole vectors, and the rank of the steps is none of the other sizes.
"""
import math

import torch

COMMON = {
    "bos_token_id": 0, "conv_kernel": 4, "eos_token_id": 0, "expand": 2, "hidden_act": "silu", "initializer_range": 0.1,
    "layer_norm_epsilon": 1e-05, "num_hidden_layers": 2, "pad_token_id": 0, "rescale_prenorm_residual": False,
    "residual_in_fp32": True, "time_step_floor": 0.0001, "time_step_init_scheme": "random", "time_step_max": 0.1,
    "time_step_min": 0.001, "time_step_scale": 1.0, "torch_dtype": "bfloat16", "use_bias": False, "use_cache": True,
    "use_conv_bias": True, "vocab_size": 256,
}
CONFIGS = {
    "mamba": COMMON | {
        "architectures": ["MambaForCausalLM"], "fused_add_norm": True, "hidden_size": 36, "intermediate_size": 72,
        "model_type": "mamba", "rms_norm": True, "state_size": 12, "time_step_rank": 5,
        "transformers_version": "4.39.0.dev0"},
    # The published expand is not what makes intermediate_size, which counts.
    "falcon_mamba": COMMON | {
        "architectures": ["FalconMambaForCausalLM"], "expand": 16, "hidden_size": 40, "intermediate_size": 80,
        "mixer_rms_eps": 1e-02, "model_type": "falcon_mamba", "state_size": 16, "tie_word_embeddings": False,
        "time_step_rank": "auto", "transformers_version": "4.44.0"},
    "jamba": {
        "architectures": ["JambaForCausalLM"], "attention_dropout": 0.0, "attn_layer_offset": 2, "attn_layer_period": 4,
        "bos_token_id": 1, "eos_token_id": 2, "expert_layer_offset": 1, "expert_layer_period": 2, "hidden_act": "silu",
        "hidden_size": 36, "initializer_range": 0.02, "intermediate_size": 16, "mamba_conv_bias": True,
        "mamba_d_conv": 4, "mamba_d_state": 8, "mamba_dt_rank": 5, "mamba_expand": 2, "mamba_inner_layernorms": True,
        "mamba_proj_bias": False, "max_position_embeddings": 128, "model_type": "jamba", "num_attention_heads": 4,
        "num_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 4, "num_key_value_heads": 2,
        "num_logits_to_keep": 1, "output_router_logits": False, "pad_token_id": 0, "rms_norm_eps": 1e-02,
        "router_aux_loss_coef": 0.001, "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "transformers_version": "4.40.0", "use_cache": True, "use_mamba_kernels": True, "vocab_size": 256},
}


def mixer(prefix, hidden, channels, rank, state, normed):
    """Name -> shape of the tensors of a state space."""
    out = {"A_log": (channels, state), "D": (channels,), "in_proj.weight": (2 * channels, hidden),
           "conv1d.weight": (channels, 1, 4), "conv1d.bias": (channels,), "x_proj.weight": (rank + 2 * state, channels),
           "dt_proj.weight": (channels, rank), "dt_proj.bias": (channels,), "out_proj.weight": (hidden, channels)}
    if normed:
        out |= {"dt_layernorm.weight": (rank,), "b_layernorm.weight": (state,), "c_layernorm.weight": (state,)}
    return {f"{prefix}.{name}": shape for name, shape in out.items()}


def shapes(family, config):
    """Name -> shape of every tensor of the checkpoint, under the names of published files."""
    if family == "jamba":
        return jamba_shapes(config)
    h, rank = config["hidden_size"], config["time_step_rank"]
    rank = math.ceil(h / 16) if rank == "auto" else rank
    out = {"backbone.embeddings.weight": (config["vocab_size"], h), "backbone.norm_f.weight": (h,)}
    if family == "falcon_mamba":
        out["lm_head.weight"] = (config["vocab_size"], h)
    for i in range(config["num_hidden_layers"]):
        layer = f"backbone.layers.{i}"
        out[f"{layer}.norm.weight"] = (h,)
        out |= mixer(f"{layer}.mixer", h, config["intermediate_size"], rank, config["state_size"], False)
    return out


def jamba_shapes(config):
    """Attention or a state space, then experts or a feed-forward."""
    h, f, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = h // config["num_attention_heads"] * config["num_key_value_heads"]
    out = {"model.embed_tokens.weight": (vocab, h), "model.final_layernorm.weight": (h,), "lm_head.weight": (vocab, h)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        out |= {f"{layer}.input_layernorm.weight": (h,), f"{layer}.pre_ff_layernorm.weight": (h,)}
        if i % config["attn_layer_period"] == config["attn_layer_offset"]:
            out |= {f"{layer}.self_attn.{name}_proj.weight": (kv if name in "kv" else h, h) for name in "qkvo"}
        else:
            out |= mixer(f"{layer}.mamba", h, config["mamba_expand"] * h, config["mamba_dt_rank"],
                         config["mamba_d_state"], True)
        mlps = [f"{layer}.feed_forward"]
        if i % config["expert_layer_period"] == config["expert_layer_offset"]:
            out[f"{layer}.feed_forward.router.weight"] = (config["num_experts"], h)
            mlps = [f"{layer}.feed_forward.experts.{e}" for e in range(config["num_experts"])]
        for mlp in mlps:
            out |= {f"{mlp}.gate_proj.weight": (f, h), f"{mlp}.up_proj.weight": (f, h), f"{mlp}.down_proj.weight": (h, f)}
    return out


def special(name, x):
    """What is no matrix, norm or bias like all others, from normal numbers; None for everything else."""
    if name.endswith(".A_log"):
        return torch.log(torch.arange(1, x.shape[1] + 1.0)) + 0.3 * x
    if name.endswith(".D"):
        return 1 + 0.3 * x
    if name.endswith(".dt_proj.bias"):
        return 0.3 * x - 2  # steps so short that a state remembers all 24 tokens
    return None
