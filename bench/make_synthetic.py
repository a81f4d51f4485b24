#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint of random weights in the shape of a published model, to measure speed without downloading it.

    python3 bench/make_synthetic.py OUT [--layers 22] [--seed 0]

The shape is TinyLlama's (1.1 billion weights, bf16, head of its own); --layers makes it shorter. The tokenizer is that of
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
HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, VOCABULARY = 2048, 5632, 32, 4, 32000

# A prime number of normal values: rows are slices of them from random places, which is much faster than drawing each.
POOL = 4_000_037


def config(layers):
    return {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 0, "eos_token_id": 0,
        "hidden_act": "silu", "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": INTERMEDIATE,
        "max_position_embeddings": 2048, "mlp_bias": False, "model_type": "llama", "num_attention_heads": HEADS,
        "num_hidden_layers": layers, "num_key_value_heads": KV_HEADS, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vocab_size": VOCABULARY,
    }


def shapes(layers):
    """Every tensor's shape by its name, in the order of the file."""
    kv = HIDDEN // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for i in range(layers):
        block = f"model.layers.{i}"
        yield f"{block}.input_layernorm.weight", (HIDDEN,)
        for name, rows in (("q", HIDDEN), ("k", kv), ("v", kv), ("o", HIDDEN)):
            yield f"{block}.self_attn.{name}_proj.weight", (rows, HIDDEN)
        yield f"{block}.post_attention_layernorm.weight", (HIDDEN,)
        yield f"{block}.mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
        yield f"{block}.mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
        yield f"{block}.mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def bf16(values):
    """The upper halves of floats, rounded half up."""
    bits = array.array("I", array.array("f", values).tobytes())
    halves = array.array("H", (b + 0x8000 >> 16 for b in bits))
    if sys.byteorder == "big":
        halves.byteswap()
    return halves.tobytes()


def write(path, layers, seed):
    draw = random.Random(seed)
    pool = bf16(draw.gauss(0, 0.02) for _ in range(POOL))
    pool += pool[:2 * max(HIDDEN, INTERMEDIATE)]
    header, end = {}, 0
    for name, shape in shapes(layers):
        size = 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, shape in shapes(layers):
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
    parser.add_argument("--layers", type=int, default=22, help="blocks (default 22)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default 0)")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    write(args.out / "model.safetensors", args.layers, args.seed)
    (args.out / "config.json").write_text(json.dumps(config(args.layers), indent=2) + "\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / name, args.out / name)


if __name__ == "__main__":
    main()
