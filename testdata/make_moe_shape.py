#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a Qwen3-MoE with random weights: by default two blocks of the shape of Qwen3-30B-A3B (128 experts, 8 of them for
each token), 2.6 GB, good for a look at memory and time.

    testdata/make_moe_shape.py OUT [--hidden 2048] [--channels 768] [--experts 128] [--layers 2]
"""
import argparse
import json
import math
import os
import random
import struct

args = argparse.ArgumentParser(description=__doc__)
args.add_argument("out")
for name, default in dict(hidden=2048, channels=768, experts=128, layers=2, heads=32, vocabulary=259).items():
    args.add_argument("--" + name, type=int, default=default)
a = args.parse_args()
os.makedirs(a.out, exist_ok=True)
HEAD, KV = 128, 4

shapes = {"model.embed_tokens.weight": (a.vocabulary, a.hidden)}
for i in range(a.layers):
    p = f"model.layers.{i}."
    shapes[p + "input_layernorm.weight"] = shapes[p + "post_attention_layernorm.weight"] = (a.hidden,)
    shapes[p + "self_attn.q_proj.weight"] = (a.heads * HEAD, a.hidden)
    shapes[p + "self_attn.k_proj.weight"] = shapes[p + "self_attn.v_proj.weight"] = (KV * HEAD, a.hidden)
    shapes[p + "self_attn.o_proj.weight"] = (a.hidden, a.heads * HEAD)
    shapes[p + "self_attn.q_norm.weight"] = shapes[p + "self_attn.k_norm.weight"] = (HEAD,)
    shapes[p + "mlp.gate.weight"] = (a.experts, a.hidden)
    for e in range(a.experts):
        x = f"{p}mlp.experts.{e}."
        shapes[x + "gate_proj.weight"] = shapes[x + "up_proj.weight"] = (a.channels, a.hidden)
        shapes[x + "down_proj.weight"] = (a.hidden, a.channels)
shapes["model.norm.weight"] = (a.hidden,)
shapes["lm_head.weight"] = (a.vocabulary, a.hidden)

header, end = {"__metadata__": {"format": "pt"}}, 0
for name, shape in shapes.items():
    size = 2 * math.prod(shape)
    header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
    end += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
draw = random.Random(0)


def bf16(count, exponent):
    """Of random sign and fraction, from 2^exponent to twice that."""
    chosen = int.from_bytes(draw.randbytes(2 * count), "little") & int.from_bytes(b"\x7f\x80" * count, "little")
    fixed = int.from_bytes(struct.pack("<H", (127 + exponent) << 7) * count, "little")
    return (chosen | fixed).to_bytes(2 * count, "little")


with open(os.path.join(a.out, "model.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    for name, shape in shapes.items():
        one_row = len(shape) == 1 or "embed" in name
        f.write(bf16(math.prod(shape), 0 if one_row else round(-math.log2(shape[1]) / 2) - 1))
config = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": a.hidden,
    "intermediate_size": 8 * a.channels, "moe_intermediate_size": a.channels, "num_experts": a.experts,
    "num_experts_per_tok": min(8, a.experts), "norm_topk_prob": True, "num_hidden_layers": a.layers,
    "num_attention_heads": a.heads, "num_key_value_heads": KV, "head_dim": HEAD, "vocab_size": a.vocabulary,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "hidden_act": "silu",
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "decoder_sparse_step": 1, "mlp_only_layers": [],
}
json.dump(config, open(os.path.join(a.out, "config.json"), "w"), indent=2)
