# SPDX-License-Identifier: Apache-2.0
"""Tokens a second of transformers in bfloat16 for one sequence: of a prompt, and of single steps behind a few tokens. Loading
and a first measurement of each kind are not in it; printed is the median of the others as JSON."""
import argparse
import json
import statistics
import time


class Transformers:
    def __init__(self, model, threads):
        import torch
        from transformers import AutoModelForCausalLM, DynamicCache

        torch.set_num_threads(threads)
        self.torch, self.cache_type = torch, DynamicCache
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
        self.vocabulary = self.model.config.vocab_size
        self.clear()

    def clear(self):
        self.cache = self.cache_type()

    def feed(self, ids):
        with self.torch.inference_mode():
            self.model(self.torch.tensor([ids]), past_key_values=self.cache, logits_to_keep=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prompt", type=int, required=True)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    args = parser.parse_args()
    engine = Transformers(args.model, args.threads)

    def ids(first, count):
        return [(first + i) * 7919 % engine.vocabulary for i in range(count)]

    def prefill():
        engine.clear()
        started = time.perf_counter()
        engine.feed(ids(0, args.prompt))
        return args.prompt / (time.perf_counter() - started)

    def decode():
        engine.clear()
        engine.feed(ids(0, args.depth))
        started = time.perf_counter()
        for i in range(args.steps):
            engine.feed(ids(args.depth + i, 1))
        return args.steps / (time.perf_counter() - started)

    result = {}
    for name, measure in (("prefill", prefill), ("decode", decode)):
        measure()
        result[name] = statistics.median(measure() for _ in range(args.repeats))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
