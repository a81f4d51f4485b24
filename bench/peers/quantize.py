# SPDX-License-Identifier: Apache-2.0
"""RTN or GPTQ by llm-compressor: W4A16, symmetric, groups of 64 inputs; head and embedding stay as they are."""
import argparse

import text
import torch
import transformers
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier

SCHEME = {"group_0": {"targets": ["Linear"], "weights": {
    "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 64}}}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--method", choices=["rtn", "gptq"], required=True)
    parser.add_argument("--calib", help="text file, for gptq")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype="auto")
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    if args.method == "rtn":
        oneshot(model=model, recipe=QuantizationModifier(config_groups=SCHEME, ignore=["lm_head"]))
    else:
        ids = text.windows(args.model, args.calib, args.length, args.samples).tolist()
        data = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * args.length] * args.samples})
        oneshot(model=model, dataset=data, recipe=GPTQModifier(config_groups=SCHEME, ignore=["lm_head"], actorder="static"),
                num_calibration_samples=args.samples, max_seq_length=args.length, shuffle_calibration_samples=False)
    model.save_pretrained(args.out, save_compressed=True)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
