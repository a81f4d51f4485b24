# SPDX-License-Identifier: Apache-2.0
"""Distillation in plain torch, float32: blocks first if asked to (each learns its teacher's block output), then KL of the
logits. The windows come in their order, so that llmc with `--order first` sees the same ones in the same steps."""
import argparse
import json
import math
import time
from pathlib import Path

import text
import torch
import transformers


def rate(step, steps, warmup, peak, end=0.1):
    """Linear up, cosine down to a part of the peak; step from 0."""
    if step < warmup:
        low = peak / (warmup + 1)
        return low + (peak - low) * step / warmup
    part = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (end + (1 - end) * (1 + math.cos(math.pi * part)) / 2)


def trainer(parameters):
    return torch.optim.AdamW(parameters, lr=0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)


def update(optimizer, parameters, value):
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = value
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def hidden_states(model, ids, batch):
    """Embeddings, then the output of every block, without the last norm: tensors [windows, length, hidden]."""
    found = [[] for _ in range(len(model.model.layers) + 1)]
    hooks = [model.model.layers[0].register_forward_pre_hook(lambda _, inputs: found[0].append(inputs[0].detach()))]
    for i, layer in enumerate(model.model.layers):
        hooks.append(layer.register_forward_hook(lambda _, __, out, i=i: found[i + 1].append((out[0] if isinstance(out, tuple) else out).detach())))
    with torch.no_grad():
        for part in ids.split(batch):
            model.model(part)
    for hook in hooks:
        hook.remove()
    return [torch.cat(parts) for parts in found]


def run_block(student, i, x):
    """One block on its own."""
    positions = torch.arange(x.shape[1])[None]
    out = student.model.layers[i](x, position_ids=positions, position_embeddings=student.model.rotary_emb(x, positions))
    return out[0] if isinstance(out, tuple) else out


def blockwise(student, states, targets, ids, args):
    x = states[0]
    for i, layer in enumerate(student.model.layers):
        parameters = list(layer.parameters())
        optimizer = trainer(parameters)
        per_epoch = len(ids) // args.batch
        for step in range(args.block_steps):
            at = step % per_epoch * args.batch
            target = states[targets[i]][at:at + args.batch]
            loss = torch.nn.functional.mse_loss(run_block(student, i, x[at:at + args.batch]), target)
            (loss / target.square().mean()).backward()
            update(optimizer, parameters, rate(step, args.block_steps, min(20, args.block_steps // 10), args.block_lr))
        with torch.no_grad():
            x = torch.cat([run_block(student, i, part) for part in x.split(args.batch)])
            print(f"block {i}: {torch.nn.functional.mse_loss(x, states[targets[i]]) / states[targets[i]].square().mean():.5f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("student")
    parser.add_argument("out")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--data", required=True, help="text file")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--windows", type=int, help="windows of the text (default: those of all steps)")
    parser.add_argument("--block-steps", type=int, default=0, help="steps for each block before")
    parser.add_argument("--block-lr", type=float, default=3e-4)
    parser.add_argument("--targets", help="for each block of the student the number of teacher blocks whose output it learns")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    teacher = text.load_float32(args.teacher)
    student = text.load_float32(args.student).train()
    ids = text.windows(args.teacher, args.data, args.length, args.windows or args.steps * args.batch)
    if args.block_steps:
        blockwise(student, hidden_states(teacher, ids, args.batch), [int(t) for t in args.targets.split(",")], ids, args)
    parameters = list(student.parameters())
    optimizer = trainer(parameters)
    seconds, losses = [], []
    for step in range(args.steps):
        started = time.monotonic()
        at = step % (len(ids) // args.batch) * args.batch
        x = ids[at:at + args.batch]
        with torch.no_grad():
            wanted = torch.log_softmax(teacher(x, use_cache=False).logits, -1)
        found = torch.log_softmax(student(x, use_cache=False).logits, -1)
        loss = torch.nn.functional.kl_div(found.flatten(0, 1), wanted.flatten(0, 1), log_target=True, reduction="batchmean")
        loss.backward()
        update(optimizer, parameters, rate(step, args.steps, min(20, args.steps // 10), args.lr))
        seconds.append(time.monotonic() - started)
        losses.append(loss.item())
        print(f"step {step + 1}: {losses[-1]:.4f}, {seconds[-1]:.2f} s", flush=True)
    student.to(torch.bfloat16).save_pretrained(args.out)
    transformers.AutoTokenizer.from_pretrained(args.student).save_pretrained(args.out)
    if args.json:
        result = {"step_seconds": sorted(seconds)[len(seconds) // 2] if seconds else None, "losses": losses}
        args.json.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
