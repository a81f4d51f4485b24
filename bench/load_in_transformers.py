#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads a directory that llmc wrote in transformers and compares its logits with those of llmc.

    python3 bench/load_in_transformers.py DIR --ids ids.safetensors --against-logits logits.safetensors

DIR is dense, compressed-tensors or GPTQ, of one grid or of several. Prints the largest absolute difference; the exit code is 1 if
it is above --bound, or if transformers misses a tensor or finds one that it does not know. Needs the environment of
bench/run. GPTQ directories are unpacked here, because the kernels that transformers takes for them want a GPU.
"""
import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import text  # noqa: F401 - sets the environment before transformers is imported

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def unpack_int32(packed, bits, axis):
    """The unsigned numbers of an int32 tensor, low bits first, along the given axis."""
    per_word = 32 // bits
    shifts = torch.arange(per_word, dtype=torch.int32) * bits
    if axis == 0:
        return ((packed[:, None, :] >> shifts[None, :, None]) & (2 ** bits - 1)).reshape(-1, packed.shape[1])
    return ((packed[:, :, None] >> shifts[None, None, :]) & (2 ** bits - 1)).reshape(packed.shape[0], -1)


def settings_of(stem, settings):
    """A layer's own: the first rule of `dynamic` whose pattern begins its name wins, as in GPTQModel and vLLM."""
    for pattern, rule in (settings.get("dynamic") or {}).items():
        if not pattern.startswith("-:") and re.match(pattern.removeprefix("+:"), stem):
            return settings | rule
    return settings


def gptq_to_dense(folder, out, settings):
    """Writes a GPTQ directory (v1: zero points stored less one, or v2: as they are) as dense float32 weights."""
    shift = 0 if settings.get("checkpoint_format") == "gptq_v2" else 1
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    dense = {}
    for name, value in tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind == "qweight":  # [in/8, out]; scales [groups, out]; qzeros [groups, out/8]
            bits = settings_of(stem, settings)["bits"]
            if bits not in (2, 4, 8):
                raise SystemExit(f"{stem} in {bits} bits: this check unpacks 2, 4 and 8 bits only")
            q = unpack_int32(value, bits, axis=0)
            zero = unpack_int32(tensors[f"{stem}.qzeros"], bits, axis=1) + shift
            scale = tensors[f"{stem}.scales"].float()
            group = tensors.get(f"{stem}.g_idx")
            group = torch.arange(len(q)) // (len(q) // len(scale)) if group is None else group.long()
            dense[f"{stem}.weight"] = (scale[group] * (q - zero[group])).T.contiguous()
        elif kind not in ("qzeros", "scales", "g_idx"):
            dense[name] = value.float()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(dense, out / "model.safetensors", metadata={"format": "pt"})


def load(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = config.get("quantization_config") or {}
    method = settings.get("quant_method", "none")
    if method == "gptq":
        scratch = Path(tempfile.mkdtemp(prefix="gptq-to-dense-"))
        gptq_to_dense(folder, scratch, settings)
        folder = scratch
    elif method not in ("compressed-tensors", "none"):
        raise SystemExit(f"{folder}: no check for the quantization method {method}")
    print(f"quantization: {method}")
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True)
    finally:
        if method == "gptq":
            shutil.rmtree(folder)
    faults = {kind: sorted(map(str, report[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if report[kind]}
    return model.eval(), faults


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--ids", type=Path, required=True, help="safetensors file with input_ids, whole numbers [batch, tokens]")
    parser.add_argument("--against-logits", type=Path, required=True, help="safetensors file with logits f32 [batch, tokens, vocabulary]")
    parser.add_argument("--bound", type=float, default=1e-3, help="largest difference to accept (default 1e-3)")
    parser.add_argument("--bf16-weights", action="store_true",
                        help="round the unpacked weights to bf16, as they are in a model loaded in bf16; the sums stay float32")
    args = parser.parse_args()
    with safe_open(args.ids, "pt") as f:
        ids = f.get_tensor("input_ids").long()
    with safe_open(args.against_logits, "pt") as f:
        expected = f.get_tensor("logits")
    model, faults = load(args.dir)
    with torch.inference_mode():
        logits = model(ids, use_cache=False).logits  # compressed-tensors unpacks its weights at this first pass
        if args.bf16_weights:
            for parameter in model.parameters():
                parameter.data = parameter.data.bfloat16().float()
            logits = model(ids, use_cache=False).logits
    if logits.shape != expected.shape:
        raise SystemExit(f"shapes differ: {list(logits.shape)} by transformers, {list(expected.shape)} in the file")
    difference = (logits - expected).abs().max().item()
    same_top = (logits.argmax(-1) == expected.argmax(-1)).float().mean().item()
    print(f"largest absolute difference {difference:.3g}, logits up to {expected.abs().max().item():.3g}, same top token {same_top:.2%}")
    for kind, names in faults.items():
        print(f"{kind}: {', '.join(names)}")
    # Not "difference > bound": a NaN must fail as well.
    sys.exit(0 if difference <= args.bound and not faults else 1)


if __name__ == "__main__":
    main()
