"""What transformers makes of configs that leave keys out, have odd values, or disagree with the tensors.

    DIR/bin/python config_values.py

Writes config-values.jsonl: a change of one of the tiny models beside this file, and either the last logits
of the first golden sequence, or null where transformers refuses the model, stops, has to invent weights,
or computes something that is no number.
"""
import json
import pathlib
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LONG = {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "long_factor": [2.0] * 8}
LAYER = "model.layers.%d."
BIASES = {LAYER % i + "self_attn.%s_proj.bias" % p: n for i in (0, 1) for p, n in (("q", 64), ("k", 32), ("v", 32), ("o", 64))}
MLP_BIASES = {LAYER % i + "mlp.%s_proj.bias" % p: [64] for i in (0, 1) for p in ("gate", "up", "down")}
HEAD = {"lm_head.weight": [256, 64]}


def ramp(shape):
    """Numbers that every type of float holds."""
    size = int(np.prod(shape))
    return torch.tensor([((i * 7) % 13 - 6) / 16 for i in range(size)]).reshape(shape)


def cases():
    def case(model, config=None, absent=(), tensors=None, without=()):
        return {
            "model": model,
            "config": config or {},
            "absent": list(absent),
            "tensors": {k: [v] if isinstance(v, int) else v for k, v in (tensors or {}).items()},
            "without": list(without),
        }

    for scaling in [
        {"rope_type": "linear", "factor": 2.5},
        {"rope_type": "linear"},
        {"rope_type": "linear", "factor": None},
        {"rope_type": "linear", "factor": "8"},
        {"factor": 8.0},
        {"type": "linear", "factor": 4, "rope_theta": 500.0},
        {"rope_type": "dynamic", "factor": 4.0},
        {"rope_type": "dynamic"},
        {"rope_type": "dynamic", "factor": None},
        YARN,
        {k: v for k, v in YARN.items() if k != "factor"},
        {**YARN, "factor": None},
        {k: v for k, v in YARN.items() if not k.startswith("original")},
        {**YARN, "beta_fast": 4, "beta_slow": 2},
        {**YARN, "beta_fast": None, "beta_slow": None, "attention_factor": None, "mscale": None},
        {**YARN, "attention_factor": 1.5},
        {**YARN, "mscale": 2.0, "mscale_all_dim": 0.5},
        {**YARN, "mscale": 2.0},
        {**YARN, "truncate": False},
        LLAMA3,
        {**LLAMA3, "factor": None},
        {k: v for k, v in LLAMA3.items() if k != "factor"},
        {k: v for k, v in LLAMA3.items() if not k.startswith("low")},
        {k: v for k, v in LLAMA3.items() if not k.startswith("original")},
        LONG,
        {**LONG, "factor": 4.0},
        {**LONG, "attention_factor": 2.0},
        {k: v for k, v in LONG.items() if k != "short_factor"},
        {**LONG, "short_factor": [1.0] * 7},
        {"rope_type": "foo"},
    ]:
        yield case("tiny-llama", {"rope_scaling": scaling, "max_position_embeddings": 20})
    yield case("tiny-llama", {"rope_scaling": YARN, "original_max_position_embeddings": 8})
    yield case("tiny-llama", {"rope_scaling": LLAMA3, "rope_parameters": {"rope_type": "linear", "factor": 2.0}})
    yield case("tiny-phi3", {"rope_scaling": LONG, "original_max_position_embeddings": 8})
    yield case("tiny-phi3", {"rope_scaling": LONG}, ["original_max_position_embeddings"])
    yield case("tiny-phi3", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}})
    for theta in (None, "10k", [10000.0], 500, 500.0):
        yield case("tiny-llama", {"rope_theta": theta})
    for model in ("tiny-llama", "tiny-mixtral", "tiny-qwen3", "tiny-gemma3_text", "tiny-phi3"):
        yield case(model, absent=["rope_theta", "rope_local_base_freq"])
        yield case(model, absent=["rms_norm_eps"])
        yield case(model, {"rms_norm_eps": None})
        yield case(model, {"rms_norm_eps": 0.25})
        yield case(model, {"rms_norm_eps": "1e-6"})
        yield case(model, absent=["num_key_value_heads"])
        yield case(model, {"head_dim": None} if model != "tiny-phi3" else {}, [] if model != "tiny-phi3" else ["head_dim"])
        yield case(model, absent=["tie_word_embeddings"])
        yield case(model, absent=["max_position_embeddings"])
    for window in (None, 4, 24, 1):
        yield case("tiny-mixtral", {"sliding_window": window})
        yield case("tiny-phi3", {"sliding_window": window})
        yield case("tiny-gemma3_text", {"sliding_window": window})
        yield case("tiny-qwen3", {"sliding_window": window, "use_sliding_window": True, "max_window_layers": 1})
    yield case("tiny-qwen3", {"sliding_window": 4, "use_sliding_window": True}, ["max_window_layers"])
    yield case("tiny-qwen3", {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4})
    yield case("tiny-qwen3", {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4, "use_sliding_window": True})
    yield case("tiny-qwen3", {"layer_types": ["full_attention"]})
    yield case("tiny-qwen3", {"layer_types": ["full_attention", "local"]})
    yield case("tiny-qwen3", {"hidden_act": "gelu"})
    yield case("tiny-gemma3_text", absent=["sliding_window_pattern"])
    yield case("tiny-gemma3_text", {"sliding_window_pattern": 0})
    yield case("tiny-gemma3_text", {"query_pre_attn_scalar": 7})
    yield case("tiny-gemma3_text", {"query_pre_attn_scalar": 0})
    yield case("tiny-gemma3_text", {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 0.5})
    yield case("tiny-gpt2", {"n_inner": None})
    yield case("tiny-gpt2", {"scale_attn_weights": False})
    yield case("tiny-gpt2", {"scale_attn_by_inverse_layer_idx": True})
    yield case("tiny-gpt2", {"add_cross_attention": True})
    yield case("tiny-mixtral", absent=["num_experts_per_tok"])
    yield case("tiny-mixtral", {"num_experts_per_tok": 5})
    yield case("tiny-mixtral", {"num_local_experts": 5})
    yield case("tiny-mixtral", {"num_local_experts": 3})

    # Where config and tensors disagree.
    yield case("tiny-llama", {"tie_word_embeddings": True})
    yield case("tiny-llama", {"tie_word_embeddings": True}, without=["lm_head.weight"])
    yield case("tiny-llama", without=["lm_head.weight"])
    yield case("tiny-qwen3", tensors=HEAD)
    yield case("tiny-gpt2", tensors=HEAD)
    yield case("tiny-qwen3", {"tie_word_embeddings": False})
    yield case("tiny-llama", tensors=BIASES)
    yield case("tiny-llama", {"attention_bias": True}, tensors=BIASES)
    yield case("tiny-llama", {"attention_bias": True})
    yield case("tiny-llama", {"mlp_bias": True}, tensors=MLP_BIASES)
    yield case("tiny-llama", tensors=MLP_BIASES)
    yield case("tiny-llama", {"mlp_bias": True})
    yield case("tiny-qwen3", {"attention_bias": True}, tensors=BIASES)
    yield case("tiny-qwen3", tensors=BIASES)
    yield case("tiny-mixtral", tensors=BIASES)
    yield case("tiny-phi3", tensors={LAYER % 0 + "self_attn.qkv_proj.bias": [128]})
    yield case("tiny-llama", tensors={"lm_head.bias": [256], "model.norm.bias": [64]})
    yield case("tiny-llama", tensors={LAYER % 0 + "input_layernorm.bias": [64]})
    yield case("tiny-llama", tensors={LAYER % 1 + "self_attn.q_norm.weight": [16]})
    yield case("tiny-llama", {"num_hidden_layers": 1})
    yield case("tiny-llama", {"num_hidden_layers": 3})
    yield case("tiny-gpt2", {"n_layer": 1})
    yield case("tiny-gpt2", without=["transformer.h.1.mlp.c_fc.bias", "h.1.mlp.c_fc.bias"])
    yield case("tiny-gpt2", without=["transformer.ln_f.bias", "ln_f.bias"])
    yield case("tiny-qwen3", without=[LAYER % 1 + "self_attn.k_norm.weight"])
    yield case("tiny-mixtral", without=[LAYER % 1 + "block_sparse_moe.experts.3.w2.weight"])
    for key, value in [
        ("vocab_size", 255),
        ("vocab_size", 257),
        ("intermediate_size", 48),
        ("head_dim", 8),
        ("num_attention_heads", 2),
        ("num_key_value_heads", 1),
        ("num_key_value_heads", 3),
        ("num_key_value_heads", 4),
        ("hidden_size", 32),
    ]:
        yield case("tiny-llama", {key: value})


def logits(c):
    source = HERE / c["model"]
    config = json.loads((source / "config.json").read_text())
    config.update(c["config"])
    for key in c["absent"]:
        config.pop(key, None)
    weights = {k: v for k, v in load_file(source / "model.safetensors").items() if k not in c["without"]}
    dtype = next(iter(weights.values())).dtype
    weights.update({k: ramp(v).to(dtype) for k, v in c["tensors"].items()})
    ids = load_file(source / "golden.safetensors")["input_ids"][:1]
    with tempfile.TemporaryDirectory() as d:
        pathlib.Path(d, "config.json").write_text(json.dumps(config))
        save_file(weights, d + "/model.safetensors", {"format": "pt"})
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                d, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", output_loading_info=True
            )
            if info["missing_keys"] or info["mismatched_keys"]:
                return None
            with torch.no_grad():
                last = model.eval()(ids, use_cache=False).logits[0, -1]
        except Exception:
            return None
    return [round(x, 5) for x in last.tolist()] if torch.isfinite(last).all() else None


if __name__ == "__main__":
    with open(HERE / "config-values.jsonl", "w") as out:
        for c in cases():
            values = logits(c)
            print(json.dumps({**c, "logits": None if values is None else values[:8]}), file=out)
