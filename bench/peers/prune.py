# SPDX-License-Identifier: Apache-2.0
"""Wanda (unstructured, 50 %) or SparseGPT (2:4) by llm-compressor; head and embedding stay as they are."""
import argparse

import text
import torch
import transformers
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier

RECIPES = {"wanda": lambda: WandaPruningModifier(sparsity=0.5, mask_structure="0:0", ignore=["re:.*lm_head"]),
           "sparsegpt": lambda: SparseGPTModifier(sparsity=0.5, mask_structure="2:4", ignore=["re:.*lm_head"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--method", choices=sorted(RECIPES), required=True)
    parser.add_argument("--calib", required=True, help="text file")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype="auto")
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    ids = text.windows(args.model, args.calib, args.length, args.samples).tolist()
    data = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * args.length] * args.samples})
    oneshot(model=model, dataset=data, recipe=RECIPES[args.method](), num_calibration_samples=args.samples,
            max_seq_length=args.length, shuffle_calibration_samples=False)
    zeros = sum((p == 0).sum().item() for name, p in model.named_parameters() if name.endswith("proj.weight"))
    weights = sum(p.numel() for name, p in model.named_parameters() if name.endswith("proj.weight"))
    print(f"zeros: {zeros} of {weights}")
    if zeros < 0.49 * weights:
        raise SystemExit("the peer reports success but has pruned nothing")
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)


if __name__ == "__main__":
    main()
