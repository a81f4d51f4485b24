#!/usr/bin/env python3
"""Makes everything in this folder again: the trained model tale-llama with its texts, and the tiny random checkpoints.

    python3 make_testdata.py                  # all of it, into the folder of this script
    python3 make_testdata.py tiny             # only the tiny checkpoints (seconds)
    python3 make_testdata.py tale-llama       # only the trained model (about ten minutes on two cores)
    python3 make_testdata.py --out DIR        # into another folder
    python3 make_testdata.py --check          # make nothing; print the figures of README.md

Needs the packages of requirements.txt; uses the CPU only and reads nothing but its own folder.
"""
import argparse
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from tokenizers import decoders, models, pre_tokenizers, trainers

import tales
import tiny

END = "<|endoftext|>"
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0,
    "eos_token_id": 0, "head_dim": 64, "hidden_act": "silu", "hidden_size": 256, "initializer_range": 0.02,
    "intermediate_size": 512, "max_position_embeddings": 1024, "mlp_bias": False, "model_type": "llama",
    "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "pretraining_tp": 1,
    "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "transformers_version": "4.45.0", "use_cache": True, "vocab_size": 1024,
}
GENERATION = {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 0, "transformers_version": "4.45.0"}
TOKENIZER = {
    "add_prefix_space": False,
    "added_tokens_decoder": {"0": {"content": END, "lstrip": False, "normalized": False, "rstrip": False,
                                   "single_word": False, "special": True}},
    "bos_token": END, "clean_up_tokenization_spaces": False, "eos_token": END, "model_max_length": 1024,
    "pad_token": END, "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": END,
}
NOTICE = """tale-llama: the weights, the tokenizer and the texts of this folder were made by ../make_testdata.py from
sentences that the same script generates. They are licensed under the Apache License, Version 2.0:
http://www.apache.org/licenses/LICENSE-2.0
"""

BATCH, LENGTH, STEPS, WARMUP, PEAK_RATE = 8, 512, 600, 40, 3e-3
SPREAD = 0.6  # of the channels; see spread_channels
TOKENIZER_TALES, CALIBRATION_BYTES, TEST_BYTES = 2000, 210_000, 65_000
WINDOW = 256  # of the perplexities in README.md


# Texts and tokenizer

def text_of(seed, size, known):
    """Whole tales of a stream, joined by empty lines, up to a size in bytes; none of them is among the known ones."""
    chosen, total = [], 0
    for tale in tales.stream(seed):
        total += len(tale.encode()) + 2
        if total > size:
            return "\n\n".join(chosen) + "\n"
        if tale not in known:
            chosen.append(tale)


def train_tokenizer(texts):
    """A byte-level BPE as GPT-2 has it; id 0 is the only special token."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"], special_tokens=[END], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False))
    return tokenizer


def training_ids(tokenizer, texts, seed):
    """One long row of ids. A tale is followed by an empty line, as in the text files, or by the end token."""
    generator = np.random.default_rng(seed)
    newline = tokenizer.encode("\n").ids
    ids = []
    for encoding in tokenizer.encode_batch(texts):
        ids += encoding.ids + ([0] if generator.random() < 0.5 else newline * 2)
    return torch.tensor(ids)


# Training

def learning_rate(step):
    """Linear warm-up, then a cosine down to a fiftieth."""
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / WARMUP
    return PEAK_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))


def train(ids):
    """A float32 model after one pass over the ids, in order: no piece of text is seen twice."""
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).float().train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                                  betas=(0.9, 0.98))
    started = time.time()
    for step, batch in enumerate(ids[:STEPS * BATCH * LENGTH].view(STEPS, BATCH, LENGTH)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        logits = model(batch, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            print(f"step {step + 1} of {STEPS}: loss {loss.item():.3f}, {time.time() - started:.0f} s", flush=True)
    return model.eval()


@torch.no_grad()
def spread_channels(model):
    """Makes the channels differ in size without changing what the model computes.

    In large models, trained for long, some channels are many times as strong as others; that is what makes rounding
    harmful and what AWQ, SmoothQuant and GPTQ are about. A model trained for ten minutes has hardly any of it: 4 bits
    would cost nothing. So every channel between two linear layers, or a norm and a linear layer, is multiplied by a
    random factor on one side and divided by it on the other.
    """
    generator = torch.Generator().manual_seed(2)
    factors = lambda n: torch.exp(SPREAD * torch.randn(n, generator=generator))
    heads, kv_heads, head_dim = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"], CONFIG["head_dim"]
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        for norm, readers in ((layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                              (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj))):
            f = factors(CONFIG["hidden_size"])
            norm.weight *= f
            for linear in readers:
                linear.weight /= f
        f = factors(CONFIG["intermediate_size"])
        mlp.up_proj.weight *= f[:, None]
        mlp.down_proj.weight /= f
        f = factors(kv_heads * head_dim)
        attention.v_proj.weight *= f[:, None]
        # A value head is read by all query heads of its group.
        attention.o_proj.weight /= f.view(kv_heads, 1, head_dim).expand(-1, heads // kv_heads, -1).flatten()


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def make_tale_llama(folder):
    """Text, tokenizer and model, as a published model directory."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = tales.stream("training")
    texts = list(itertools.islice(stream, TOKENIZER_TALES))
    tokenizer = train_tokenizer(texts)
    ids = training_ids(tokenizer, texts, seed=1)
    while len(ids) < STEPS * BATCH * LENGTH:
        more = list(itertools.islice(stream, TOKENIZER_TALES))
        texts += more
        ids = torch.cat([ids, training_ids(tokenizer, more, seed=len(texts))])
    known = set(texts)
    (folder / "calibration.txt").write_text(text_of("calibration", CALIBRATION_BYTES, known), encoding="utf-8")
    (folder / "test.txt").write_text(text_of("test", TEST_BYTES, known), encoding="utf-8")
    (folder / "NOTICE").write_text(NOTICE, encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", TOKENIZER)
    write_json(folder / "special_tokens_map.json", {k: TOKENIZER[k] for k in ("bos_token", "eos_token", "pad_token", "unk_token")})
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "generation_config.json", GENERATION)
    print(f"tale-llama: {len(texts)} tales, {len(ids)} tokens", flush=True)
    model = train(ids)
    spread_channels(model)
    weights = {n: p.detach().to(torch.bfloat16) for n, p in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes files that only their owner can read


# Figures

def windows(tokenizer, path):
    """The text tokenized whole, cut into windows without overlap."""
    ids = torch.tensor(tokenizer.encode(path.read_text(encoding="utf-8"), add_special_tokens=False).ids)
    return ids[:len(ids) // WINDOW * WINDOW].view(-1, WINDOW)


@torch.no_grad()
def perplexity(model, batch):
    logits = model(batch, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()).exp().item()


def bigram_perplexity(ids, batch):
    """A bigram model counted on ids, backed off to single tokens; what context of one token can reach."""
    size = CONFIG["vocab_size"]
    single = torch.bincount(ids, minlength=size).double() + 1
    single /= single.sum()
    pairs = torch.bincount(ids[:-1] * size + ids[1:], minlength=size * size).view(size, size).double()
    probability = (pairs + single) / (pairs.sum(1, keepdim=True) + 1)
    return torch.exp(-probability[batch[:, :-1], batch[:, 1:]].log().mean()).item()


@torch.no_grad()
def round_to_nearest(model, bits, group=64):
    """Symmetric round-to-nearest of every linear layer but the head, one scale for each group of inputs."""
    top = 2 ** (bits - 1)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            w = module.weight.view(module.out_features, -1, group)
            scale = w.abs().amax(-1, keepdim=True) / (top - 0.5)
            module.weight.copy_(((w / scale).round().clamp(-top, top - 1) * scale).view_as(module.weight))


def check(folder):
    """Prints the table of README.md."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    batch = windows(tokenizer, folder / "test.txt")
    load = lambda: transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    counted = training_ids(tokenizer, list(itertools.islice(tales.stream("training"), TOKENIZER_TALES)), seed=1)
    print(f"test.txt: {len(batch)} windows of {WINDOW} tokens, {batch.numel() - len(batch)} predictions")
    print(f"bigram model counted on {len(counted)} tokens: {bigram_perplexity(counted, batch):.3f}")
    print(f"tale-llama: {perplexity(load(), batch):.3f}")
    print(f"tale-llama on calibration.txt: {perplexity(load(), windows(tokenizer, folder / 'calibration.txt')):.3f}")
    for bits in (8, 4, 3, 2):
        model = load()
        round_to_nearest(model, bits)
        print(f"{bits} bits, round to nearest, group 64: {perplexity(model, batch):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="tiny, tale-llama; default both")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="default: the folder of this script")
    parser.add_argument("--check", action="store_true", help="print the figures of tale-llama and make nothing")
    args = parser.parse_args()
    if unknown := set(args.parts) - {"tiny", "tale-llama"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    # Sums in parallel depend on the number of threads: with these two lines a run gives the same bytes again.
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.disable_progress_bar()
    if args.check:
        check(args.out / "tale-llama")
        return
    if not args.parts or "tiny" in args.parts:
        for family in tiny.CONFIGS:
            print(tiny.make(family, args.out / f"tiny-{family}"))
        print(tiny.make_tokenizer(args.out / "byte-tokenizer"))
    if not args.parts or "tale-llama" in args.parts:
        make_tale_llama(args.out / "tale-llama")


if __name__ == "__main__":
    main()
