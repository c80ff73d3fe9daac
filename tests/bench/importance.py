"""Squared gradients of single examples, batched against a loop of batches of one, both in this process.

Usage, from the root: python -m tests.bench.importance [--model torchvision/resnet18] [--size 32] [--examples 64]
The default is ResNet-18, the library's default network, on pictures of 32 px, the size of CIFAR:
what a batch saves is the traffic of 11 million weights a picture; on larger pictures the network's own
passes, which both sides need, take a growing share and the ratio falls (try --size 48 and --size 128).
Prints one line a measure: milliseconds an example (all cores) on both sides, their ratio, and the largest
difference relative to each tensor's maximum.
"""

import argparse
import functools
import io
import time
from collections.abc import Callable

import numpy as np
import torch
from mmunlearn.vision.handle import VisionHandle

from mmunlearn.data import Example, ImageRef
from mmunlearn.methods.fisher import outcome_rows
from mmunlearn.per_sample import accumulate


def pictures(n: int, size: int) -> list[Example]:
    """Noise pictures as PNG bytes."""
    from PIL import Image

    draw, examples = np.random.default_rng(0), []
    for i in range(n):
        stream = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(stream, "PNG")
        target = int(draw.integers(8))
        examples.append(Example(id=f"bench/{i}", image=ImageRef(content=stream.getvalue()), target=target))
    return examples


def batch_of_one(handle: VisionHandle, examples: list[Example], rows) -> dict[str, torch.Tensor]:
    """What the reference implementations do: zero, forward, backward and square for every example and outcome."""
    total = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    for example in examples:
        values = rows(handle.score(handle.collate([example])))
        for number in range(len(values)):
            handle.module.zero_grad()
            values[number].sum().backward(retain_graph=number < len(values) - 1)
            for name, parameter in handle.trainable():
                total[name] += parameter.grad.data.clone().pow(2)
    return total


def best(work: Callable, repeats: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Least wall-clock seconds of several runs, and a result."""
    runs = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        runs.append(time.perf_counter() - start)
    return min(runs), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="torchvision/resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--way", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    handle = VisionHandle({"name": given.model, "classes": 8, "size_px": given.size})
    examples = pictures(given.examples, given.size)
    handle.collate(examples)  # decoded once for both sides
    weights = sum(p.numel() for p in handle.module.parameters())
    for name, rows in (("ssd", lambda scored: scored.nll[None]), ("fisher", outcome_rows)):
        one = functools.partial(batch_of_one, handle, rows=rows)
        fast = functools.partial(accumulate, handle, examples, rows, "squared", batch_size=given.batch, way=given.way)
        one(examples[:2]), accumulate(handle, examples[:2], rows, "squared")  # warm
        slow_s, slow = best(functools.partial(one, examples), given.repeats)
        fast_s, value = best(fast, given.repeats)
        worst = max(((value[k] - v).abs().max() / v.abs().max().clamp(min=1e-30)).item() for k, v in slow.items())
        slow_ms, fast_ms = (1e3 * s / given.examples for s in (slow_s, fast_s))
        print(
            f"{name} {given.model} {given.size} px, {weights:,} weights: batch of one {slow_ms:.2f} ms, "
            f"batched {fast_ms:.2f} ms an example, ratio {slow_s / fast_s:.2f}, difference {worst:.1e}"
        )


if __name__ == "__main__":
    main()
