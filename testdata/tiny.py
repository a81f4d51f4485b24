"""Tiny random checkpoints, one per architecture, with the outputs that transformers computes from them.

The checkpoints are written tensor by tensor under the names that published files have, so nothing here depends on how
a version of transformers keeps the weights in memory. Only the goldens come from transformers.
"""
import json
import zlib

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

import mamba

HIDDEN, VOCAB, HEAD_DIM, HEADS, KV_HEADS, FFN = 64, 256, 16, 4, 2, 64
BATCH, TOKENS = 2, 24

# Published configs carry these keys whatever the family.
COMMON = {
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
    "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": FFN, "max_position_embeddings": 128,
    "num_attention_heads": HEADS, "num_hidden_layers": 2, "num_key_value_heads": KV_HEADS, "rms_norm_eps": 1e-05,
    "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "use_cache": True, "vocab_size": VOCAB,
}

CONFIGS = {
    "llama": COMMON | {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "head_dim": HEAD_DIM, "mlp_bias": False,
        "pretraining_tp": 1, "transformers_version": "4.45.0"},
    "qwen3": COMMON | {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": HEAD_DIM, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "tie_word_embeddings": True, "max_window_layers": 2, "sliding_window": None,
        "use_sliding_window": False, "transformers_version": "4.51.0"},
    "phi3": COMMON | {
        "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "embd_pdrop": 0.0, "resid_pdrop": 0.0,
        "original_max_position_embeddings": 128, "pad_token_id": 0, "sliding_window": 16,
        "transformers_version": "4.40.2"},
    # sliding_window_pattern 2: layers 0 and 2 are local, layer 1 is global. There is no tie_word_embeddings key in
    # published files: the family is tied by default.
    "gemma3_text": {k: v for k, v in COMMON.items() if k not in ("hidden_act", "tie_word_embeddings")} | {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "attn_logit_softcapping": None,
        "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106], "final_logit_softcapping": None,
        "head_dim": HEAD_DIM, "hidden_activation": "gelu_pytorch_tanh", "num_hidden_layers": 3, "num_key_value_heads": 1,
        "pad_token_id": 0, "query_pre_attn_scalar": HEAD_DIM, "rms_norm_eps": 1e-06, "rope_local_base_freq": 10000.0,
        "rope_theta": 1000000.0, "sliding_window": 8, "sliding_window_pattern": 2,
        "transformers_version": "4.50.0.dev0"},
    "mixtral": {k: v for k, v in COMMON.items() if k not in ("attention_bias", "rope_scaling")} | {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "intermediate_size": 32,
        "num_experts_per_tok": 2, "num_local_experts": 4, "output_router_logits": False, "rope_theta": 1000000.0,
        "router_aux_loss_coef": 0.02, "sliding_window": None, "transformers_version": "4.36.0.dev0"},
    "gpt_neox": {
        "architectures": ["GPTNeoXForCausalLM"], "attention_bias": True, "attention_dropout": 0.0, "bos_token_id": 0,
        "eos_token_id": 0, "hidden_act": "gelu", "hidden_dropout": 0.0, "hidden_size": HIDDEN,
        "initializer_range": 0.02, "intermediate_size": FFN, "layer_norm_eps": 1e-05, "max_position_embeddings": 128,
        "model_type": "gpt_neox", "num_attention_heads": HEADS, "num_hidden_layers": 2, "rotary_emb_base": 10000,
        "rotary_pct": 0.25, "tie_word_embeddings": False, "torch_dtype": "float16", "transformers_version": "4.24.0",
        "use_cache": True, "use_parallel_residual": True, "vocab_size": VOCAB},
    # gpt2 has keys of its own, and no tie_word_embeddings: tied by default.
    "gpt2": {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1, "bos_token_id": 255,
        "embd_pdrop": 0.1, "eos_token_id": 255, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05,
        "model_type": "gpt2", "n_ctx": 64, "n_embd": HIDDEN, "n_head": HEADS, "n_inner": 64, "n_layer": 2,
        "n_positions": 64, "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "torch_dtype": "float32", "transformers_version": "4.20.0", "use_cache": True, "vocab_size": VOCAB},
}
CONFIGS |= mamba.CONFIGS
WITH_GRADIENTS = ("llama", "qwen3", "gemma3_text", "gpt_neox", "gpt2", "mixtral")


def shapes(family, config):
    """Name -> shape of every tensor of the checkpoint, under the names of published files."""
    if family in mamba.CONFIGS:
        return mamba.shapes(family, config)
    if family == "gpt2":
        return gpt2_shapes(config)
    if family == "gpt_neox":
        return gpt_neox_shapes(config)
    h, f = config["hidden_size"], config["intermediate_size"]
    d = config.get("head_dim", h // config["num_attention_heads"])
    q, kv = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    out = {"model.embed_tokens.weight": (VOCAB, h), "model.norm.weight": (h,)}
    if not config.get("tie_word_embeddings", family == "gemma3_text"):
        out["lm_head.weight"] = (VOCAB, h)
    for i in range(config["num_hidden_layers"]):
        layer = {"input_layernorm": (h,), "post_attention_layernorm": (h,), "self_attn.o_proj": (h, q)}
        if family == "phi3":
            layer |= {"self_attn.qkv_proj": (q + 2 * kv, h), "mlp.gate_up_proj": (2 * f, h), "mlp.down_proj": (h, f)}
        else:
            layer |= {"self_attn.q_proj": (q, h), "self_attn.k_proj": (kv, h), "self_attn.v_proj": (kv, h)}
        if family in ("qwen3", "gemma3_text"):
            layer |= {"self_attn.q_norm": (d,), "self_attn.k_norm": (d,)}
        if family == "gemma3_text":
            layer |= {"pre_feedforward_layernorm": (h,), "post_feedforward_layernorm": (h,)}
        if family == "mixtral":
            layer["block_sparse_moe.gate"] = (config["num_local_experts"], h)
            for e in range(config["num_local_experts"]):
                expert = f"block_sparse_moe.experts.{e}"
                layer |= {f"{expert}.w1": (f, h), f"{expert}.w2": (h, f), f"{expert}.w3": (f, h)}
        elif family != "phi3":
            layer |= {"mlp.gate_proj": (f, h), "mlp.up_proj": (f, h), "mlp.down_proj": (h, f)}
        out |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return out


def gpt2_shapes(config):
    """GPT-2 stores its linear weights as [in, out] and has a bias everywhere."""
    h, f = config["n_embd"], config["n_inner"]
    out = {"transformer.wte.weight": (VOCAB, h), "transformer.wpe.weight": (config["n_positions"], h)}
    linears = {"attn.c_attn": (h, 3 * h), "attn.c_proj": (h, h), "mlp.c_fc": (h, f), "mlp.c_proj": (f, h)}
    norms = ["transformer.ln_f"]
    for i in range(config["n_layer"]):
        norms += [f"transformer.h.{i}.ln_1", f"transformer.h.{i}.ln_2"]
        for name, shape in linears.items():
            out |= {f"transformer.h.{i}.{name}.weight": shape, f"transformer.h.{i}.{name}.bias": shape[1:]}
    for name in norms:
        out |= {f"{name}.weight": (h,), f"{name}.bias": (h,)}
    return out


def gpt_neox_shapes(config):
    """Two norms on the block's input, q, k and v of each head in one matrix, and a bias everywhere."""
    h, f = config["hidden_size"], config["intermediate_size"]
    out = {"gpt_neox.embed_in.weight": (VOCAB, h), "embed_out.weight": (VOCAB, h)}
    linears = {"attention.query_key_value": (3 * h, h), "attention.dense": (h, h), "mlp.dense_h_to_4h": (f, h),
               "mlp.dense_4h_to_h": (h, f)}
    norms = ["gpt_neox.final_layer_norm"]
    for i in range(config["num_hidden_layers"]):
        layer = f"gpt_neox.layers.{i}"
        norms += [f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm"]
        for name, shape in linears.items():
            out |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
    for name in norms:
        out |= {f"{name}.weight": (h,), f"{name}.bias": (h,)}
    return out


def random_tensor(family, name, shape):
    """A seeded tensor, scaled so that every part of the network moves the logits (whose deviation is then about 2).

    Norm weights are spread around the value that does nothing, so that an implementation that skips one is found out.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{family}/{name}".encode()))
    x = torch.randn(shape, generator=generator)
    if family in mamba.CONFIGS and mamba.special(name, x) is not None:
        return mamba.special(name, x)
    if name.endswith(".bias"):
        return 0.3 * x
    if "norm" in name or ".ln_" in name:
        return 0.3 * x if family == "gemma3_text" else 1 + 0.3 * x  # gemma's norms multiply by 1 + weight
    if "embed" in name or "wte" in name or "wpe" in name or "lm_head" in name:
        return 0.25 * x
    fan_in = shape[0] if family == "gpt2" else shape[-1]
    return 1.2 * fan_in ** -0.5 * x


def input_ids(family):
    generator = torch.Generator().manual_seed(zlib.crc32(f"{family}/input_ids".encode()))
    return torch.randint(0, VOCAB, (BATCH, TOKENS), generator=generator)


def under_checkpoint_names(family, parameters):
    """The gradients of a loaded model under the checkpoint's names.

    transformers 5 keeps the experts of mixtral's layers in two 3-D tensors, gate above up, and calls gpt_neox's head as
    all others.
    """
    out = {}
    for name, parameter in parameters:
        g = parameter.grad
        if family == "gpt_neox" and name == "lm_head.weight":
            name = "embed_out.weight"
        if family != "mixtral" or ".mlp." not in name:
            out[name] = g.contiguous()
            continue
        layer, part = name.split(".mlp.")
        prefix = f"{layer}.block_sparse_moe"
        if part == "gate.weight":
            out[f"{prefix}.gate.weight"] = g.contiguous()
        for e in range(g.shape[0]):
            if part == "experts.gate_up_proj":
                gate, up = g[e].chunk(2)
                out |= {f"{prefix}.experts.{e}.w1.weight": gate.contiguous(),
                        f"{prefix}.experts.{e}.w3.weight": up.contiguous()}
            elif part == "experts.down_proj":
                out[f"{prefix}.experts.{e}.w2.weight"] = g[e].contiguous()
    return out


def make(family, folder):
    """Writes one checkpoint with its goldens and returns a line about it."""
    config = CONFIGS[family]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    dtype = getattr(torch, config["torch_dtype"])
    tensors = {n: random_tensor(family, n, s).to(dtype) for n, s in shapes(family, config).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    # float32 from the stored, rounded weights; eager attention and experts, because only their order of sums is plain.
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            raise RuntimeError(f"{folder.name}: transformers reports {kind}: {report[kind]}")
    model.eval()
    ids = input_ids(family)
    result = model(ids, output_hidden_states=True, use_cache=False)
    golden = {"input_ids": ids, "logits": result.logits.detach().contiguous()}
    if family in mamba.CONFIGS:
        # The spelling of transformers 5, which leaves nothing to defaults.
        v5 = {k: v for k, v in model.config.to_dict().items() if k != "_name_or_path"} | {"dtype": config["torch_dtype"]}
        (folder / "config.v5.json").write_text(json.dumps(v5, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    else:
        golden["hidden_states"] = torch.stack(result.hidden_states).detach()
    save_file(golden, folder / "golden.safetensors")
    if family in WITH_GRADIENTS:
        loss = F.cross_entropy(result.logits[:, :-1].reshape(-1, VOCAB), ids[:, 1:].reshape(-1))
        loss.backward()
        gradients = under_checkpoint_names(family, model.named_parameters())
        if {n: g.shape for n, g in gradients.items()} != {n: t.shape for n, t in tensors.items()}:
            raise RuntimeError(f"{folder.name}: the gradients do not match the tensors of the checkpoint")
        save_file(gradients | {"loss": loss.detach().reshape(1)}, folder / "gradients.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes files that only their owner can read
    size = sum(p.stat().st_size for p in folder.iterdir())
    return f"{folder.name}: {len(tensors)} tensors, {size / 1000:.0f} kB, logits std {result.logits.std():.2f}"


def byte_names():
    """The 256 characters that byte-level tokenizers write bytes as, in the order of the bytes."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


def make_tokenizer(folder):
    """A tokenizer for the tiny models: a token for each byte, and no merges."""
    folder.mkdir(exist_ok=True)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {name: i for i, name in enumerate(byte_names())}, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False) + "\n")
    return f"{folder.name}: {len(tokenizer['model']['vocab'])} tokens"
