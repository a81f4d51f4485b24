#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint of random weights in the shape of a published model, to measure speed without downloading it.

    python3 bench/make_synthetic.py OUT [--shape tinyllama] [--layers N] [--seed 0]

The shapes, all in bf16 with a head of its own: tinyllama (1.1 billion weights in 22 blocks), and qwen3-30b-a3b, whose 48
blocks have 128 experts, eight of them for each token. --layers makes one shorter. The tokenizer is that of
testdata/tale-llama, whose ids are a part of the vocabulary. Needs nothing but Python. The same options give the same bytes.
"""
import argparse
import array
import json
import random
import shutil
import struct
import sys
from pathlib import Path

TOKENIZER = Path(__file__).resolve().parent.parent / "testdata" / "tale-llama"

SHAPES = {
    "tinyllama": {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "head_dim": 64, "hidden_size": 2048,
        "intermediate_size": 5632, "max_position_embeddings": 2048, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4, "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0, "vocab_size": 32000,
    },
    "qwen3-30b-a3b": {
        "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": False, "decoder_sparse_step": 1, "head_dim": 128,
        "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 40960, "mlp_only_layers": [],
        "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": True, "num_attention_heads": 32,
        "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4,
        "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "vocab_size": 151936,
    },
}

# A prime number of normal values: rows are slices of them from random places, which is much faster than drawing each.
POOL = 4_000_037


def config(shape, layers):
    chosen = dict(SHAPES[shape], bos_token_id=0, eos_token_id=0, hidden_act="silu", initializer_range=0.02,
                  rope_scaling=None, tie_word_embeddings=False, torch_dtype="bfloat16")
    return chosen if layers is None else dict(chosen, num_hidden_layers=layers)


def shapes(config):
    """Every tensor's shape by its name, in the order of the file."""
    hidden, vocabulary, head = config["hidden_size"], config["vocab_size"], config["head_dim"]
    queries, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    experts = config.get("num_experts", 0)
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for i in range(config["num_hidden_layers"]):
        block = f"model.layers.{i}"
        yield f"{block}.input_layernorm.weight", (hidden,)
        for name, rows in (("q", queries), ("k", kv), ("v", kv)):
            yield f"{block}.self_attn.{name}_proj.weight", (rows, hidden)
        yield f"{block}.self_attn.o_proj.weight", (hidden, queries)
        yield f"{block}.post_attention_layernorm.weight", (hidden,)
        if experts:
            for name in ("q", "k"):
                yield f"{block}.self_attn.{name}_norm.weight", (head,)
            yield f"{block}.mlp.gate.weight", (experts, hidden)
        inner = config["moe_intermediate_size" if experts else "intermediate_size"]
        for mlp in [f"{block}.mlp.experts.{e}" for e in range(experts)] or [f"{block}.mlp"]:
            yield f"{mlp}.gate_proj.weight", (inner, hidden)
            yield f"{mlp}.up_proj.weight", (inner, hidden)
            yield f"{mlp}.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def bf16(values):
    """The upper halves of floats, rounded half up."""
    bits = array.array("I", array.array("f", values).tobytes())
    halves = array.array("H", (b + 0x8000 >> 16 for b in bits))
    if sys.byteorder == "big":
        halves.byteswap()
    return halves.tobytes()


def write(path, tensors, seed):
    draw = random.Random(seed)
    pool = bf16(draw.gauss(0, 0.02) for _ in range(POOL))
    pool += pool[:2 * max(shape[-1] for _, shape in tensors)]
    header, end = {}, 0
    for name, shape in tensors:
        size = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors:
            if len(shape) == 1:  # norms
                out.write(bf16([1.0]) * shape[0])
                continue
            rows, columns = shape
            for _ in range(rows):
                at = 2 * draw.randrange(POOL)
                out.write(pool[at:at + 2 * columns])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="directory to make")
    parser.add_argument("--shape", choices=SHAPES, default="tinyllama", help="(default tinyllama)")
    parser.add_argument("--layers", type=int, help="blocks (default: as many as the model has)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default 0)")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    chosen = config(args.shape, args.layers)
    write(args.out / "model.safetensors", list(shapes(chosen)), args.seed)
    (args.out / "config.json").write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / name, args.out / name)


if __name__ == "__main__":
    main()
