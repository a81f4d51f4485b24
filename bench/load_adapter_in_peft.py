#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads an adapter that llmc wrote with peft, and compares its logits with those of a merged model.

    python3 bench/load_adapter_in_peft.py STUDENT ADAPTER MERGED [--logits FILE --ids FILE]

STUDENT is the model that the adapter was trained for, MERGED what the same command without --adapter wrote: in float32,
so that merging rounds nothing. --logits FILE, which `llmc eval MERGED --input-ids IDS --save-logits FILE` writes, compares
with llmc's own logits, too. The exit code is 1 if a difference is above --bound, or if the adapter changes nothing.
Needs the environment of bench/run, and peft.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import text  # noqa: F401 - sets the environment before transformers is imported

import peft
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def loaded_as_written(model, folder):
    """Whether peft holds every matrix of the file, under the file's names, and no other."""
    state = peft.get_peft_model_state_dict(model)
    file = load_file(folder / "adapter_model.safetensors")
    return state.keys() == file.keys() and all(torch.equal(state[name], file[name]) for name in file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", type=Path)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("merged", type=Path)
    parser.add_argument("--ids", type=Path, help="safetensors file with input_ids; made where it is missing")
    parser.add_argument("--logits", type=Path, help="safetensors file with llmc's logits of MERGED for these ids")
    parser.add_argument("--bound", type=float, default=1e-3, help="largest difference to accept (default 1e-3)")
    args = parser.parse_args()
    student = load(args.student)
    if args.ids and args.ids.exists():
        with safe_open(args.ids, "pt") as f:
            ids = f.get_tensor("input_ids").long()
    else:
        ids = torch.randint(student.config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))
        if args.ids:
            save_file({"input_ids": ids}, args.ids)
    with torch.inference_mode():
        before = student(ids, use_cache=False).logits
        adapted = peft.PeftModel.from_pretrained(student, args.adapter).eval()
        whole = loaded_as_written(adapted, args.adapter)
        beside = adapted(ids, use_cache=False).logits
        merged_by_peft = adapted.merge_and_unload()(ids, use_cache=False).logits
        merged_by_llmc = load(args.merged)(ids, use_cache=False).logits
    differences = {
        "peft merged, peft beside": (merged_by_peft - beside).abs().max().item(),
        "peft merged, llmc merged": (merged_by_peft - merged_by_llmc).abs().max().item(),
    }
    if args.logits:
        with safe_open(args.logits, "pt") as f:
            differences["peft merged, llmc's logits"] = (merged_by_peft - f.get_tensor("logits")).abs().max().item()
    change = (beside - before).abs().max().item()
    print(f"largest change by the adapter {change:.3g}, logits up to {before.abs().max().item():.3g}, "
          f"loaded as written: {whole}")
    for name, difference in differences.items():
        print(f"{name}: largest absolute difference {difference:.3g}")
    # Not "difference > bound": a NaN must fail as well.
    ok = whole and change > args.bound and all(d <= args.bound for d in differences.values())
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
