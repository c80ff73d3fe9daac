"""UA, IRA, CRA and FID of several requests' answer sets in one pass each, against the batch-1, two-head way.

    python tests/bench/picture_metrics.py [REQUESTS]

Both sides grade the same JPEG pictures with the same weights and must come to the same figures. The loop does what the
published scripts do (facts: diffusion 1.3, 1.5, 6): every picture is opened and resized for the style head, a forward
of batch 1, then opened again for the object head, another forward; for FID all pictures are read again into arrays, the
real ones anew for every request, features in batches of 64, np.cov and scipy's general matrix root. Ours: the judge
style_object (one decoding, one forward for both heads, in batches) and fid_mini (decoded pictures and real features
kept, symmetric eigen-decomposition, batch normalisations folded into convolutions). The heads share a trunk here, so
one forward answers for both; the published pair of ViT-L has two, and gains from batches and single decoding alone.
Training of the heads counts on neither side. The target is for processor seconds, which other work on the machine does
not lengthen; the clock's stand beside them.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmunlearn.diffusion import features
from mmunlearn.diffusion.canvas.names import names_of
from mmunlearn.diffusion.head_networks import normalised
from mmunlearn.diffusion.heads import Heads, HeadsSettings, open_heads, read_heads
from mmunlearn.diffusion.judges.style_object import StyleObject
from mmunlearn.diffusion.metrics.cra import Cra
from mmunlearn.diffusion.metrics.fid_mini import FidMini
from mmunlearn.diffusion.metrics.ira import Ira
from mmunlearn.diffusion.metrics.ua import Ua
from PIL import Image
from scipy import linalg

from mmunlearn.cache import VARIABLE, cache_folder
from mmunlearn.data import Example
from mmunlearn.judges.base import Item
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows
from mmunlearn.testing.picture_world import draw, write_world

STYLES, OBJECTS = ("Dots", "Seed_Images", "Stripes"), ("Cross", "Disc", "Square")
NUMBERS = 6  # pictures of each style and object; five of them are compared with
SEEDS = 20  # answers to each prompt
SIDE_PX = 128  # of the answers' files
TARGET = 5.0


def write_answers(folder: Path, request: int) -> list[Example]:
    """Pictures of an answer set, drawn anew for each request, and their examples."""
    examples = []
    for style in STYLES:
        for thing in OBJECTS:
            for seed in range(SEEDS):
                file = folder / f"{style}_{thing}_seed{seed}.jpg"
                picture = draw(style, thing, 1000 * (request + 1) + seed)
                picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(file, quality=92)
                examples.append(Example(id=file.name, tags={"style": style, "object": thing, "file": str(file)}))
    return examples


def ours(root: Path, settings: dict, requests: list[tuple[str, list[Example]]]) -> list[list[float]]:
    """Figures of each request by judge and metrics."""
    judge = StyleObject(settings)
    figures = []
    for name, examples in requests:
        items = [Item(example, {"image": example.tags["file"]}) for example in examples]
        verdicts = judge(items, {})
        rows = Rows.of([
            {"id": e.id, "image": e.tags["file"], "label": v.label, "tag.style": e.tags["style"],
             "tag.object": e.tags["object"]}
            for e, v in zip(examples, verdicts, strict=True)
        ])  # fmt: skip
        request = {"request": {"kind": "style", "name": name}}
        sight = Sight(rows)
        own = {**request, "root": str(root), "heads": {"steps": settings["steps"]}}
        figures.append([m(request).reduce(sight).value for m in (Ua, Ira, Cra)] + [FidMini(own).reduce(sight).value])
    return figures


def opened(path: str, size_px: int) -> torch.Tensor:
    picture = Image.open(path).convert("RGB").resize((size_px, size_px), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None]


@torch.no_grad()
def loop(root: Path, heads: Heads, requests: list[tuple[str, list[Example]]]) -> list[list[float]]:
    """The same figures one by one."""
    figures = []
    for name, examples in requests:
        read: dict[str, dict[str, str]] = {}
        for head, labels in (("style", heads.styles), ("object", heads.objects)):
            for example in examples:
                logits = heads.network(normalised(opened(example.tags["file"], heads.size_px)))
                read.setdefault(example.id, {})[head] = labels[int(logits[0 if head == "style" else 1].argmax())]

        def right(head, value, read=read, examples=examples):
            own = [e for e in examples if e.tags[head] == value]
            return np.mean([read[e.id][head] == value for e in own])

        others = [s for s in STYLES if s not in (name, "Seed_Images")]
        values = [1 - right("style", name), np.mean([right("style", s) for s in others])]
        values.append(np.mean([right("object", o) for o in OBJECTS]))
        made = [e.tags["file"] for e in examples if e.tags["style"] != name]
        real = [str(root / s / o / f"{n}.jpg") for s in STYLES if s != name for o in OBJECTS for n in range(1, 6)]
        sets = []
        for paths in (made, real):
            stacked = torch.cat([opened(path, heads.size_px) for path in paths])
            parts = [heads.network(normalised(chunk))[2] for chunk in stacked.split(64)]
            sets.append(torch.cat(parts).double().numpy())
        (m1, c1), (m2, c2) = ((x.mean(0), np.cov(x, rowvar=False)) for x in sets)
        root_of = linalg.sqrtm(c1 @ c2)
        figures.append([*values, (m1 - m2) @ (m1 - m2) + np.trace(c1) + np.trace(c2) - 2 * np.trace(root_of).real])
    return figures


def main(requests: int = 3) -> float:
    """Print both times and their ratios; returns that of processor time."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        write_world(root, NUMBERS)
        assert STYLES == names_of(root).themes
        settings = {"root": str(root), "steps": 8}
        heads = open_heads(HeadsSettings(**settings))
        asked = []
        for place in range(requests):
            answers = Path(folder) / f"answers{place}"
            answers.mkdir()
            asked.append((("Dots", "Stripes")[place % 2], write_answers(answers, place)))
        # The loop's network is as its file gives it: a published script changes neither memory layout nor layers.
        plain = read_heads(cache_folder("heads") / heads.identity)
        plain.network.eval()
        plain.network(torch.zeros(64, 3, heads.size_px, heads.size_px))  # first-call costs
        heads.say(torch.zeros(128, 3, heads.size_px, heads.size_px, dtype=torch.uint8))
        started, cpu = time.perf_counter(), time.process_time()
        slow = loop(root, plain, asked)
        slow_s, slow_cpu_s = time.perf_counter() - started, time.process_time() - cpu
        features._real.cache_clear()
        started, cpu = time.perf_counter(), time.process_time()
        fast = ours(root, settings, asked)
        fast_s, fast_cpu_s = time.perf_counter() - started, time.process_time() - cpu
    np.testing.assert_allclose([f[:3] for f in slow], [f[:3] for f in fast], atol=1e-9)
    np.testing.assert_allclose([f[3] for f in slow], [f[3] for f in fast], rtol=1e-2, atol=1e-3)
    n = sum(len(examples) for _, examples in asked)
    print(f"{requests} requests, {n} pictures of {SIDE_PX} px, UA, IRA, CRA and FID equal on both sides")
    print(f"one by one {slow_s:.1f} s, one pass {fast_s:.2f} s: {slow_s / fast_s:.1f}x")
    ratio = slow_cpu_s / fast_cpu_s
    print(f"processor time {slow_cpu_s:.1f} s, {fast_cpu_s:.2f} s: {ratio:.1f}x (target {TARGET:g}x)")
    return ratio


if __name__ == "__main__":
    import os

    with tempfile.TemporaryDirectory() as cache:
        os.environ[VARIABLE] = cache
        main(int(sys.argv[1]) if sys.argv[1:] else 3)
