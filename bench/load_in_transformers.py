#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loads directories that llmc wrote in transformers and compares their logits with those of llmc, both in float32.

    bench/load_in_transformers.py --data TEXT [--prompts 2] [--length 64] [--dequantize] [--bound 1e-3] DIR...

A directory is dense, compressed-tensors, GPTQ or AWQ, of one grid or of several. The first windows of the text are prompts. One line a
directory says how far the logits are apart. The exit code is 1 if that is too far somewhere, or if transformers misses a tensor or finds
one that it does not know. GPTQ and AWQ are unpacked here, because the kernels that transformers takes for them want GPTQModel.

A weight is a code times a scale, which readers round to the type of the scales when they load a model in its own type, and so does llmc.
transformers is asked for float32 here, leaves the product as it is, and the weights that it has unpacked are then rounded. What is too far
depends on the scheme:

    plain inputs     the largest difference is above --bound
    rounded inputs   the mean difference is above three times that of a second run, whose token embeddings differ by a part in 2^20.
                     A few inputs become the next code then, and the layers after them move more: no two right readers agree better

--dequantize asks transformers to unpack while it loads. Run it with the environment of bench/run.
"""
import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"
sys.path.insert(0, str(Path(__file__).parent / "peers"))
import text  # sets the environment before transformers is imported

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

LLMC = shlex.quote(str(Path(__file__).resolve().parent.parent / "bin" / "llmc"))


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


def weights(scale, group, codes):
    """`[out, in]` of codes `[in, out]`, rounded as readers do."""
    return (scale.float()[group] * codes).to(scale.dtype).float().T.contiguous()


def gptq_to_dense(folder, out, settings):
    """Writes a GPTQ directory (v1: zero points stored less one; v2, planar: as they are) as dense float32 weights."""
    shift = 1 if settings.get("checkpoint_format", "gptq") == "gptq" else 0
    tensors = tensors_of(folder)
    dense = {}
    for name, value in tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind == "qweight":  # [in/8, out]; scales [groups, out]; qzeros [groups, out/8]
            bits = settings_of(stem, settings)["bits"]
            if bits not in (2, 4, 8):
                raise SystemExit(f"{stem} in {bits} bits: this check unpacks 2, 4 and 8 bits only")
            q = unpack_int32(value, bits, axis=0)
            zero = unpack_int32(tensors[f"{stem}.qzeros"], bits, axis=1) + shift
            scale = tensors[f"{stem}.scales"]
            group = tensors.get(f"{stem}.g_idx")
            group = torch.arange(len(q)) // (len(q) // len(scale)) if group is None else group.long()
            dense[f"{stem}.weight"] = weights(scale, group, q - zero[group])
        elif kind not in ("qzeros", "scales", "g_idx"):
            dense[name] = value.float()
    save_dense(folder, out, dense)


def awq_to_dense(folder, out, settings):
    """The same for AWQ's `gemm`: column 8k + j stands in bits 4 n[j] of word k."""
    if settings.get("version", "gemm") != "gemm" or settings["bits"] != 4:
        raise SystemExit("this check unpacks AWQ gemm of 4 bits only")
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])

    def numbers(words):
        return (words[:, :, None] >> (4 * order.int())[None, None, :] & 15).reshape(len(words), -1)

    tensors = tensors_of(folder)
    dense = {}
    for name, value in tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind == "qweight":  # [in, out/8]; scales [groups, out]; qzeros [groups, out/8]
            scale = tensors[f"{stem}.scales"]
            group = torch.arange(len(value)) // (len(value) // len(scale))
            dense[f"{stem}.weight"] = weights(scale, group, numbers(value) - numbers(tensors[f"{stem}.qzeros"])[group])
        elif kind not in ("qzeros", "scales"):
            dense[name] = value.float()
    save_dense(folder, out, dense)


def tensors_of(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors


def save_dense(folder, out, dense):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["quantization_config"]
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(dense, out / "model.safetensors", metadata={"format": "pt"})


# Plain ones: grouped kernels want strides that are multiples of 16 bytes.
KERNELS = {"experts_implementation": "eager"}
UNPACKERS = {"gptq": gptq_to_dense, "awq": awq_to_dense}


def load(folder, settings, dequantize):
    method = settings.get("quant_method", "none")
    if method not in ("compressed-tensors", "none", *UNPACKERS):
        raise SystemExit(f"{folder}: unexpected quantization {method}")
    more = {"quantization_config": transformers.CompressedTensorsConfig(dequantize=True)} if dequantize else {}
    with tempfile.TemporaryDirectory(prefix="to-dense-") as scratch:
        if method in UNPACKERS:
            UNPACKERS[method](folder, Path(scratch), settings)
            folder = Path(scratch)
        model, report = class_of(folder).from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **KERNELS, **more)
        faults = [f"{kind} {name}" for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in report[kind]]
        return torch.nn.Module.float(model.eval()), faults


def class_of(folder):
    """What the config names: the part that reads text is not the whole of a model that sees, too."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return getattr(transformers, (config.get("architectures") or [""])[0], transformers.AutoModelForCausalLM)


def round_weights(model, folder):
    """The weights that compressed-tensors has unpacked, to the type of their scales; bf16 where these are no plain floats.

    Names in memory differ from those in files by more than a rule could say. Where all scales have one type, every layer with a scheme has it,
    and so have the experts, which transformers has unpacked to parameters of their block."""
    plain = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    types = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as f:
            for name in f.keys():
                if name.endswith(".weight_scale"):
                    types[name.removesuffix("_scale")] = plain.get(f.get_slice(name).get_dtype(), torch.bfloat16)
    one = next(iter(types.values())) if len(set(types.values())) == 1 else None
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        packed = one and (leaf == "weight" and hasattr(model.get_submodule(owner), "quantization_scheme")
                          or parameter.dim() == 3 and owner.endswith("experts"))
        if name in types or packed:
            parameter.data = parameter.data.to(types.get(name, one)).float()


def rounds_at_run_time(settings):
    groups = (settings.get("config_groups") or {}).values()
    return bool(settings.get("kv_cache_scheme")) or any(g.get("input_activations") for g in groups)


def logits_of(model, ids):
    with torch.no_grad():
        return model(ids, use_cache=False).logits


def disturbed(model, ids):
    """Logits after a change of the embeddings that no reader could be blamed for."""
    embedding = model.get_input_embeddings()
    weight = embedding.weight.data.float()
    sign = torch.randint(0, 2, weight.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    embedding.weight = torch.nn.Parameter(weight * (1 + sign * 2.0 ** -20), requires_grad=False)  # its own, if tied to the head
    return logits_of(model, ids)


def said_by_llmc(llmc, folder, ids):
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        save_file({"input_ids": ids}, scratch / "ids.safetensors")
        subprocess.run([*shlex.split(llmc), "eval", folder, "--input-ids", scratch / "ids.safetensors",
                        "--save-logits", scratch / "logits.safetensors", "-q"], check=True, stdout=subprocess.DEVNULL)
        return load_file(scratch / "logits.safetensors")["logits"]


def compare(folder, args):
    """A directory's line."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = config.get("quantization_config") or {}
    ids = text.windows(folder, args.data, args.length, args.prompts)
    try:
        model, faults = load(folder, settings, args.dequantize)
        if hasattr(model, "ct_decompress_hook"):  # else at the first pass, in which types that it mixes would end
            model.hf_quantizer.compressor.decompress_model(model)
        round_weights(model, folder)
        logits = logits_of(model, ids)
    except Exception as e:  # whatever it is, it is what transformers says of the directory
        return f"refused: {type(e).__name__}: {' '.join(str(e).split())[:300]}"
    expected = said_by_llmc(args.llmc, folder, ids)
    apart = (logits - expected).abs()
    same = (logits.argmax(-1) == expected.argmax(-1)).float().mean().item()
    line = f"apart {apart.max():.2g} at most, {apart.mean():.2g} on average, of logits up to {expected.abs().max():.3g}; same top token {same:.1%}"
    if rounds_at_run_time(settings):
        noise = (disturbed(model, ids) - logits).abs().mean().item()
        line += f"; disturbed {noise:.2g} on average"
        right = apart.mean().item() <= 3 * noise
    else:
        right = apart.max().item() <= args.bound  # also false for a NaN
    return ("right: " if right and not faults else "WRONG: ") + "; ".join([line, *faults[:3]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dirs", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--data", type=Path, required=True, help="text file")
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--length", type=int, default=64, help="tokens of a prompt (default 64)")
    parser.add_argument("--bound", type=float, default=1e-3, help="largest difference to accept where inputs are plain (default 1e-3)")
    parser.add_argument("--dequantize", action="store_true", help="let transformers unpack weights while it loads")
    parser.add_argument("--llmc", default=LLMC, help="the command (default bin/llmc beside this script)")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    width = max(len(d.name) for d in args.dirs)
    lines = []
    for folder in args.dirs:
        lines.append(compare(folder, args))
        print(f"{folder.name:{width}}  {lines[-1]}", flush=True)
    sys.exit(any(line.startswith("WRONG") for line in lines))


if __name__ == "__main__":
    main()
