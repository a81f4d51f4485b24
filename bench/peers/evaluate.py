# SPDX-License-Identifier: Apache-2.0
"""Perplexity and speed of transformers, in float32 or bfloat16.

Perplexity is exp of the mean over length - 1 predictions of each window. The speed is that of prefill with scoring: one
forward pass a window, logits of every position, no cache kept; loading the model is not in it.
"""
import argparse
import json
import time

import text
import torch
import torch.nn.functional as F


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--windows", type=int, required=True)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--compute", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--json", required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    batch = text.windows(args.model, args.data, args.length, args.windows)
    model = text.load_float32(args.model)
    if args.compute == "bf16":
        model = model.to(torch.bfloat16)
    total = 0.0
    with torch.inference_mode():
        model(batch[:1], use_cache=False)  # the first pass allocates and picks kernels; it is not timed
        started = time.perf_counter()
        for window in batch:
            logits = model(window[None], use_cache=False).logits[0, :-1].float()
            total += F.cross_entropy(logits, window[1:], reduction="sum").item()
        seconds = time.perf_counter() - started
    result = {"perplexity": float(torch.tensor(total / (args.windows * (args.length - 1)), dtype=torch.float64).exp()),
              "tokens_per_second": batch.numel() / seconds}
    with open(args.json, "w", encoding="utf-8") as f:
        json.dump(result, f)


if __name__ == "__main__":
    main()
