# SPDX-License-Identifier: Apache-2.0
"""Learned rounding by AutoRound: W4, groups of 64 inputs, in GPTQ's layout; head and embedding stay as they are."""
import argparse
from pathlib import Path

import text
import torch
import transformers
from auto_round import AutoRound


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--calib", required=True)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--asymmetric", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype="auto")
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    ids = text.windows(args.model, args.calib, args.length, args.samples)
    batch = 4
    data = [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in ids.split(batch)]
    rounding = AutoRound(model, tokenizer, bits=4, group_size=64, sym=not args.asymmetric, iters=args.steps, nsamples=args.samples,
                         seqlen=args.length, batch_size=batch, dataset=data, device_map="cpu")
    rounding.quantize_and_save(args.out, format="auto_gptq")
    # It makes a folder of its own there.
    out = Path(args.out)
    for config in list(out.glob("*/config.json")):
        for file in config.parent.iterdir():
            file.rename(out / file.name)
        config.parent.rmdir()


if __name__ == "__main__":
    main()
