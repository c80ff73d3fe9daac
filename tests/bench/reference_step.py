"""One NPO and one KL step: reference cached or from switched-off adapters against a frozen copy with full logits.

Usage, from the root: python -m tests.bench.reference_step [--vocab 32064] [--width 384] [--layers 6] [--batch 4]
The baseline is what the reference implementations do: a second model in memory, its forward pass in every step, logits
of the whole vocabulary at every position (pictures, prompt and padding too) from both models, pictures through the
tower in every pass. The other sides are this project's handle and reference. All sides train the same adapters of a
small LLaVA on the same batches with AdamW; each runs in a process of its own. NPO's loss is equal on all sides; the
divergence is over every position in the baseline and over answer tokens in the others. Seconds are of the processor,
on all cores; memory is growth of the process' peak over the loaded model. Prints one line a side.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from mmunlearn.vlm.handle import VlmHandle
from torch.nn import functional

from mmunlearn import losses
from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.reference import Reference

BETA, IGNORED = 0.1, -100
SIDES = ("frozen_copy", "cached", "adapters_off")


def model(given) -> VlmHandle:
    """A LLaVA with as many vocabulary entries as published ones have, under adapters."""
    size = given.pixels
    architecture = {
        "vision": {"hidden_size": 128, "num_hidden_layers": 4, "image_size": size, "patch_size": 14},
        "text": {
            "hidden_size": given.width, "intermediate_size": 8 * given.width // 3, "num_hidden_layers": given.layers,
            "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 1024,
        },
    }  # fmt: skip
    settings = {"template": "mini", "architecture": architecture, "features": given.side != "frozen_copy"}
    handle = VlmHandle(settings)
    handle.module.resize_token_embeddings(given.vocab, mean_resizing=False)
    return handle.adapted({"lora": {"r": 8, "alpha": 16, "full": []}})


def examples(given, name: str) -> Split:
    """Questions and answers of about twenty tokens on pictures of noise."""
    from PIL import Image

    draw = np.random.default_rng(len(name))
    items = []
    for i in range(given.batch):
        stream = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (given.pixels, given.pixels, 3), dtype=np.uint8)).save(stream, "PNG")
        words = [str(word) for word in draw.choice(["city", "born", "river", "doctor", "painter", "seven"], 24)]
        items.append(
            Example(
                id=f"bench/{name}/{i}", image=ImageRef(content=stream.getvalue()),
                prompt=" ".join(words[:10]) + "?", target=" ".join(words[10 : 20 + i % 5]),
            )
        )  # fmt: skip
    return Split(name, Role.FORGET if name == "forget" else Role.RETAIN, tuple(items))


def full_logits(handle: VlmHandle, batch) -> torch.Tensor:
    """Logits at every position, in float32."""
    names = ("input_ids", "attention_mask", "pixel_values")
    return handle.module(**{name: batch.tensors[name] for name in names}).logits.float()


def full_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy of each example from logits at every position."""
    shifted = logits[:, :-1].contiguous().transpose(1, 2)
    return functional.cross_entropy(shifted, labels[:, 1:], ignore_index=IGNORED, reduction="none").sum(1)


def baseline(handle, given):
    """Loss of a step with a frozen second model."""
    frozen = handle.copy()
    frozen.module.eval().requires_grad_(False)

    def npo(forget, retain):
        before = full_nll(_without(full_logits, frozen, forget), forget.tensors["labels"])
        return losses.npo(full_nll(full_logits(handle, forget), forget.tensors["labels"]), before, beta=BETA).mean()

    def kl(forget, retain):
        ascent = -full_nll(full_logits(handle, forget), forget.tensors["labels"]).sum() / forget.count.sum()
        with torch.no_grad():
            p = full_logits(frozen, retain).flatten(0, 1).log_softmax(-1)
        q = full_logits(handle, retain).flatten(0, 1).log_softmax(-1)
        return ascent + functional.kl_div(q, p, reduction="batchmean", log_target=True)

    return {"npo": npo, "kl": kl}[given.objective]


def ours(handle, given, splits):
    """Loss of a step with this project's reference."""
    handle.keep_logits = given.objective == "kl"
    reference = Reference(handle, given.side, augmented=False)
    if given.side == "cached":
        reference.fill(splits, given.batch)

    def npo(forget, retain):
        return losses.npo(handle.score(forget).nll, reference.score(forget).nll, beta=BETA).mean()

    def kl(forget, retain):
        handle.keep_logits = False
        ascent = -handle.score(forget).nll.sum() / forget.count.sum()
        handle.keep_logits = True
        scored = handle.score(retain)
        return ascent + losses.kl(reference.score(retain), scored).sum() / retain.count.sum()

    return {"npo": npo, "kl": kl}[given.objective]


def _without(work, *given):
    with torch.no_grad():
        return work(*given)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one_side(given) -> dict:
    """Loss before the first step, growth of the peak, least processor seconds of a step."""
    torch.set_num_threads(given.threads)
    handle = model(given)
    splits = [examples(given, name) for name in ("forget", "retain")]
    before = peak_bytes()
    loss_of = baseline(handle, given) if given.side == "frozen_copy" else ours(handle, given, splits)
    optimiser = torch.optim.AdamW([p for _, p in handle.trainable()], lr=1e-4)
    runs, first = [], None
    for _ in range(1 + given.repeats):  # the first one decodes and warms
        start = time.process_time()
        loss = loss_of(*(handle.collate(split) for split in splits))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        runs.append(time.process_time() - start)
        first = loss.item() if first is None else first
    weights = sum(p.numel() * p.element_size() for p in handle.module.parameters())
    return {"loss": first, "bytes": peak_bytes() - before, "seconds": min(runs[1:]), "model": weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("vocab", 32_064), ("width", 384), ("layers", 6), ("pixels", 168), ("batch", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--objective", choices=("npo", "kl"))
    given = parser.parse_args()
    if given.side:
        print(json.dumps(one_side(given)))
        return
    print(f"LLaVA, vocabulary {given.vocab:,}, {given.layers} x {given.width}, {given.pixels} px, batch {given.batch}")
    for objective in (given.objective,) if given.objective else ("npo", "kl"):
        found: dict[str, dict] = {}
        for side in SIDES:
            command = [sys.executable, "-m", "tests.bench.reference_step", *sys.argv[1:]]
            command += ["--side", side, "--objective", objective]
            found[side] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        base = found["frozen_copy"]
        for side, got in found.items():
            saved = (base["bytes"] - got["bytes"]) / base["model"]
            print(
                f"{objective} {side}: {got['seconds']:.2f} s a step, {got['bytes'] / 2**20:.0f} MiB above the model, "
                f"loss {got['loss']:.4f}; time ratio {base['seconds'] / got['seconds']:.2f}, "
                f"{saved:.2f} model copies ({base['model'] / 2**20:.0f} MiB) less"
            )


if __name__ == "__main__":
    main()
