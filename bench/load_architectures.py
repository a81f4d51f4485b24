#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every architecture in transformers: rounds each model directory of a folder to 8 bits, loads it there as the class that its config names, and
compares names and logits with llmc's. Makes a table of docs/architectures.md.

    bench/load_architectures.py --models DIR.. --scratch DIR [--only REGEX] [--renew docs/architectures.md]

A directory of DIR has config.json, the weights, and golden.safetensors with input_ids. Each is written with codes (compressed-tensors) and
as plain numbers (dense). Layers that predict further tokens, which transformers does not know in the original either, do not count. A reader
that fails with the original in the same way is no fault of the output: that is said instead. Needs what bench/README.md says of
load_in_transformers.py.
"""
import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import load_in_transformers as one
import torch
import transformers
from safetensors.torch import load_file, save_file

MARK = "<!-- by bench/load_architectures.py -->"
FORMS = {"dense": ["--layout", "dense"], "codes": []}


def quantized(llmc, model, out, form):
    """None, or what llmc says where it refuses."""
    if not out.exists():
        command = [*shlex.split(llmc), "quantize", model, "-o", out, "--method", "rtn", "--bits", "8", "--group-size", "channel", "--device", "cpu",
                   "-q", *FORMS[form]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1].removeprefix("llmc: ")
    return None


def loaded(folder, ids, dequantize):
    """Logits and faults."""
    config = one.json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = config.get("quantization_config") or {}
    model, faults = one.load(folder, settings, dequantize)
    if hasattr(model, "ct_decompress_hook"):
        model.hf_quantizer.compressor.decompress_model(model)
    torch.nn.Module.float(model)
    one.round_weights(model, folder)
    return one.logits_of(model, ids), faults


def sentence(e):
    return f"{type(e).__name__}: {' '.join(str(e).split())[:120]}"


def verdict(args, original, out, ids):
    """What a reader of the table is told of one output."""
    try:
        golden, known = loaded(original, ids, False)
    except Exception as e:  # whatever it is, it is what transformers says
        return f"- (the original: {sentence(e)})"
    how = ""
    try:
        logits, faults = loaded(out, ids, False)
    except Exception as refused:
        try:
            logits, faults = loaded(out, ids, True)
            how = ", `dequantize=True`"
        except Exception:
            return f"**no**: {sentence(refused)}"
    faults = [f for f in faults if f not in known]
    if faults:
        return f"**no**: {len(faults)} names, as {faults[0]}"
    apart = (logits - one.said_by_llmc(args.llmc, out, ids)).abs().max().item()
    return f"yes, {apart:.1g}{how}" if apart <= args.bound else f"**no**: logits {apart:.2g} apart"


def models(folders):
    """Of the first folder all, of the others those of a type that is in none before."""
    known, found = set(), []
    for folder in folders:
        here = [p for p in folder.iterdir() if (p / "golden.safetensors").exists()]
        types = {p: one.json.loads((p / "config.json").read_text(encoding="utf-8"))["model_type"] for p in here}
        found += [p for p in here if types[p] not in known]
        known |= set(types.values())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="of a folder behind the first, what has an architecture of its own")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--only", default=".")
    parser.add_argument("--bound", type=float, default=1e-3, help="largest difference of logits to accept (default 1e-3)")
    parser.add_argument("--renew", type=Path, help="page whose table is written anew")
    parser.add_argument("--llmc", default=one.LLMC, help="the command (default bin/llmc beside this script)")
    args = parser.parse_args()
    if args.renew and args.only != ".":
        parser.error("--renew writes the whole table: leave out --only")
    transformers.utils.logging.set_verbosity(50)
    transformers.utils.logging.disable_progress_bar()
    table = ["| folder | dense | codes |", "|---|---|---|"]
    for model in sorted((p for p in models(args.models) if re.search(args.only, p.name)), key=lambda p: p.name):
        ids = load_file(model / "golden.safetensors")["input_ids"]
        row = []
        for form in FORMS:
            out = args.scratch / f"{model.name}.{form}"
            said = quantized(args.llmc, model, out, form)
            row.append(f"refused: {said}" if said else verdict(args, model, out, ids))
        table.append(f"| {model.name} | {' | '.join(row)} |")
        print(table[-1], flush=True)
    if len(table) == 2:
        parser.error(f"no folder of {args.models} has golden.safetensors and a name like {args.only}")
    if args.renew:
        page = args.renew.read_text(encoding="utf-8")
        before, _, after = page.partition(MARK)
        rest = after.partition("\n## ")
        version = f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}:"
        args.renew.write_text(f"{before}{MARK}\n\n{version}\n\n" + "\n".join(table) + "\n\n" + "".join(rest[1:]).lstrip(), encoding="utf-8")
    sys.exit(any("**no**" in row for row in table))


if __name__ == "__main__":
    main()
