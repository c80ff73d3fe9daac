"""Peak memory and time of the answer loss on a large vocabulary: label positions in chunks against the naive form.

Usage, from the root: python -m tests.bench.token_loss [--vocab 151936] [--width 896] [--length 320] [--answer 32]
The naive form is what the reference implementations run: the lm head at every position, logits in float32, shifted and
flattened cross-entropy. Both sides compute the summed loss of the same batch and its gradient to the hidden states
(with --train-head also to the head), each in a process of its own; memory is what the process' peak grew by over the
inputs (on a GPU what the allocator's peak grew by). Prints one line a side and the ratios.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch.nn import functional

from mmunlearn.token_stats import token_logprobs, token_stats

IGNORED = -100


def inputs(given) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states [B, T, H], head [V, H] and labels [B, T] with the last `answer` positions supervised.

    Drawn in place: temporaries would raise the peak that memory is measured from.
    """
    generator = torch.Generator(given.device).manual_seed(0)
    kind = {"device": given.device, "dtype": getattr(torch, given.dtype)}
    hidden = torch.empty(given.batch, given.length, given.width, **kind).normal_(generator=generator)
    head = torch.empty(given.vocab, given.width, **kind).normal_(0, given.width**-0.5, generator=generator)
    labels = torch.empty(given.batch, given.length, dtype=torch.long, device=given.device)
    labels.random_(given.vocab, generator=generator)[:, : -given.answer] = IGNORED
    return hidden.requires_grad_(), head.requires_grad_(given.train_head), labels


def naive(hidden, head, labels) -> torch.Tensor:
    """Logits everywhere, upcast, shifted, flattened: the loss of transformers and of the reference trainers."""
    logits = functional.linear(hidden, head).float()
    shifted = logits[:, :-1].contiguous().view(-1, len(head))
    return functional.cross_entropy(shifted, labels[:, 1:].reshape(-1), ignore_index=IGNORED, reduction="sum")


def fused(hidden, head, labels) -> torch.Tensor:
    """Label positions only, chunks of rows."""
    at = labels[:, 1:] != IGNORED
    return -token_logprobs(hidden[:, :-1][at], head, labels[:, 1:][at]).sum()


def recorded(hidden, head, labels) -> torch.Tensor:
    """The same with rank, entropy and variance of every token."""
    at = labels[:, 1:] != IGNORED
    return -token_stats(hidden[:, :-1][at], head, labels[:, 1:][at]).logprob.sum()


SIDES = {"naive": naive, "fused": fused, "recorded": recorded}


def peak_bytes(device: str) -> int:
    """Peak of this process so far."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one_side(given) -> dict:
    """Loss, gradient norm, growth of the peak and the least seconds of `repeats` steps."""
    torch.set_num_threads(given.threads)
    side = SIDES[given.side]
    small = argparse.Namespace(**{**vars(given), "vocab": 64, "batch": 1})
    side(*inputs(small)).backward()  # libraries load before the peak is read
    tensors, runs = inputs(given), []
    clock = time.perf_counter if given.device == "cuda" else time.process_time  # others may use the cores too
    before = peak_bytes(given.device)
    for _ in range(given.repeats):
        tensors[0].grad = tensors[1].grad = None
        start = clock()
        loss = side(*tensors)
        loss.backward()
        value = (loss.item(), tensors[0].grad.float().norm().item())
        runs.append(clock() - start)
    return {"loss": value[0], "grad": value[1], "bytes": peak_bytes(given.device) - before, "seconds": min(runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("vocab", 151_936), ("width", 896), ("length", 320), ("answer", 32), ("batch", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--train-head", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--side", choices=SIDES)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(one_side(given)))
        return
    found = {}
    for side in SIDES:
        command = [sys.executable, "-m", "tests.bench.token_loss", *sys.argv[1:], "--side", side]
        found[side] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(
        f"vocabulary {given.vocab:,}, hidden {given.width}, {given.batch} x {given.length} positions, "
        f"{given.answer} supervised, {given.dtype}, head {'trained' if given.train_head else 'frozen'}"
    )
    for side, got in found.items():
        off = max(abs(got[k] / found["naive"][k] - 1) for k in ("loss", "grad"))
        print(
            f"{side}: {got['bytes'] / 2**20:.0f} MiB above the inputs, {got['seconds']:.2f} s; against naive: "
            f"memory 1/{found['naive']['bytes'] / max(got['bytes'], 1):.1f}, "
            f"time 1/{found['naive']['seconds'] / got['seconds']:.1f}, difference {off:.1e}"
        )


if __name__ == "__main__":
    main()
