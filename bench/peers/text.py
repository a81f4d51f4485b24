# SPDX-License-Identifier: Apache-2.0
"""What the peer scripts share: text cut into windows of token ids, and a model in float32."""
import os
from pathlib import Path

# The scripts run on a CPU without network; set before transformers is imported, so that it asks no hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import tokenizers
import torch
import transformers


def windows(model_dir, text_file, length, count):
    """The first windows of a text: tokenized whole without special tokens, cut without overlap. int64 [count, length]."""
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(model_dir) / "tokenizer.json"))
    text = Path(text_file).read_text(encoding="utf-8")
    ids = tokenizer.encode(text, add_special_tokens=False).ids[:count * length]
    if len(ids) < count * length:
        raise SystemExit(f"{text_file} has fewer than {count} x {length} tokens")
    return torch.tensor(ids).view(count, length)


def load_float32(model_dir):
    """A model for evaluation in float32. A compressed one is unpacked at its first pass, to weights in float32."""
    return transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
