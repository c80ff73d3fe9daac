"""Tiny handles and splits that need no sibling: vectors in, a class, a label vector or a token sequence out.

They have a few hundred parameters, train in milliseconds and really learn what they are shown, so contract checks can
ask for forgetting, not only for finite numbers.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Decoding, Family, Handle, Response, Scored, View
from mmunlearn.seeds import derive, generator, uniforms
from mmunlearn.settings import Settings, build
from mmunlearn.testing.parts import toy_parts

Task = Literal["classes", "labels", "tokens"]


class TinySettings(Settings):
    """Size of the tiny model. `tokens`: the answer has up to `items` tokens of a vocabulary of `classes`."""

    task: Task = "classes"
    features: int = 8
    hidden: int = 24
    classes: int = 4
    items: int = 3
    batch_norm: bool = False
    noise: float = 0.05  # of training views


class TinyHandle(Handle):
    """Two-layer network over the vector in `Example.prompt` (JSON list of numbers)."""

    modality = "tiny"

    def __init__(self, settings: TinySettings | Mapping[str, Any] | None = None, seed: int = 0):
        self.settings = settings if isinstance(settings, TinySettings) else build(TinySettings, settings or {}, "model")
        self.module = _network(self.settings, seed)

    def collate(self, examples: Sequence[Example], view: View | None = None) -> Batch:
        """Vectors, targets and (tokens) masks; training views add small noise drawn per example and epoch."""
        s = self.settings
        x = np.asarray([json.loads(e.prompt or "[]") for e in examples], dtype=np.float32).reshape(len(examples), -1)
        keys = np.asarray([e.key for e in examples], dtype=np.int64)
        if view is not None:
            streams = [derive(view.seed, "augment", int(epoch)) for epoch in view.epochs]
            noise = np.stack([uniforms(keys[i : i + 1], s_, x.shape[1])[0] for i, s_ in enumerate(streams)])
            x = x + (s.noise * (2 * noise - 1)).astype(np.float32)
        width = {"classes": 1, "labels": s.classes, "tokens": s.items}[s.task]
        targets, masks = np.zeros((len(examples), width), dtype=np.int64), np.zeros((len(examples), width), dtype=bool)
        for row, example in enumerate(examples):
            values = np.atleast_1d(np.asarray(example.target))
            targets[row, : len(values)], masks[row, : len(values)] = values, True
        tensors = {
            "x": torch.from_numpy(x), "target": torch.from_numpy(targets), "mask": torch.from_numpy(masks),
        }  # fmt: skip
        return Batch(tuple(e.id for e in examples), tensors, tensors["mask"].sum(-1), view, keys)

    def score(self, batch: Batch) -> Scored:
        """Cross-entropy of each supervised item (labels: binary cross-entropy), summed over the items."""
        s, mask, target = self.settings, batch.tensors["mask"], batch.tensors["target"]
        logits = self.module(batch.tensors["x"])
        if s.task == "labels":
            logits = logits.unsqueeze(-1)
            each = functional.binary_cross_entropy_with_logits(
                logits[..., 0], target.to(logits.dtype), reduction="none"
            )
        else:
            logits = logits.unflatten(-1, (-1, s.classes))
            each = functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")
        nll = torch.where(mask, each, torch.zeros_like(each)).sum(-1)
        family: Family = "bernoulli" if s.task == "labels" else "categorical"
        return Scored(nll, batch.count, logits, mask, target, family)

    @torch.inference_mode()
    def respond(self, examples: Sequence[Example], how: Decoding, seed: int) -> list[Response]:
        """One row an example: nll, count, logits, target."""
        self.module.eval()
        rows = []
        for start in range(0, len(examples), how.batch_size):
            part = examples[start : start + how.batch_size]
            scored = self.score(self.collate(part).to(self.device))
            assert scored.logits is not None
            for i, example in enumerate(part):
                fields = {
                    "nll": scored.nll[i].item(), "count": int(scored.count[i]), "logits": scored.logits[i].tolist(),
                    "target": np.atleast_1d(np.asarray(example.target)).tolist(),
                }  # fmt: skip
                rows.append(Response(example.id, fields))
        return rows

    def random_target(self, example: Example, generator: np.random.Generator, *, wrong_only: bool = False) -> Any:
        """A random class, label vector or token sequence of the example's length."""
        s = self.settings
        if s.task == "classes":
            options = [c for c in range(s.classes) if not (wrong_only and c == example.target)]
            return int(generator.choice(options))
        length = len(np.atleast_1d(np.asarray(example.target)))
        while True:
            drawn = tuple(int(v) for v in generator.integers(0, 2 if s.task == "labels" else s.classes, length))
            if not (wrong_only and drawn == example.target):
                return drawn

    def fresh(self, seed: int) -> Self:
        """A newly initialised model of the same size."""
        return type(self)(self.settings, seed)

    def save(self, path: Path) -> None:
        """weights.safetensors and handle.json."""
        path.mkdir(parents=True, exist_ok=True)
        save_file(self.module.state_dict(), path / "weights.safetensors")
        (path / "handle.json").write_text(json.dumps({"modality": "tiny", **self.settings.model_dump()}))

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> Self:
        """Read what `save` wrote."""
        try:
            content: Mapping[str, Any] = json.loads((path / "handle.json").read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: is not a saved model ({error}).") from None
        if content.get("modality") != "tiny":
            raise UserError(f"{path}: holds a {content.get('modality')} model, not a tiny one.")
        handle = cls(build(TinySettings, {k: v for k, v in content.items() if k != "modality"}, str(path)))
        handle.module.load_state_dict(load_file(path / "weights.safetensors"))
        handle.module.to(device)
        return handle


def _network(s: TinySettings, seed: int) -> nn.Module:
    width = {"classes": s.classes, "labels": s.classes, "tokens": s.items * s.classes}[s.task]
    norm = nn.BatchNorm1d(s.hidden) if s.batch_norm else nn.LayerNorm(s.hidden)
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global generator
        module = nn.Sequential(nn.Linear(s.features, s.hidden), norm, nn.ReLU(), nn.Linear(s.hidden, width))
    draw = torch.Generator().manual_seed(derive(seed, "init"))
    with torch.no_grad():
        for layer in module:
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=draw)
                layer.bias.uniform_(-bound, bound, generator=draw)
    return module.eval()


def tiny_splits(
    settings: TinySettings | None = None, *, forget: int = 12, retain: int = 24, holdout: int = 12, seed: int = 0
) -> dict[str, Split]:
    """forget, retain, train, calibration, test and unseen splits of vectors with random targets (learnt by heart)."""
    s = settings or TinySettings()
    draw = generator(seed, "tiny")

    def make(name: str, i: int) -> Example:
        x = [round(float(v), 4) for v in draw.normal(size=s.features)]
        if s.task == "classes":
            target: Any = int(draw.integers(s.classes))
        elif s.task == "labels":
            target = tuple(int(v) for v in draw.integers(0, 2, s.classes))
        else:
            target = tuple(int(v) for v in draw.integers(0, s.classes, 1 + i % s.items))
        return Example(id=f"tiny/{name}/{i:04d}", prompt=json.dumps(x), target=target)

    return toy_parts(make, forget=forget, retain=retain, holdout=holdout)


def memorise(handle: TinyHandle, split: Split, *, steps: int = 70, lr: float = 0.02) -> TinyHandle:
    """Fit `split` by heart with full-batch Adam, in place; returns the handle."""
    optimiser = torch.optim.Adam(handle.module.parameters(), lr=lr)
    batch = handle.collate(split.examples)
    handle.module.train()
    for _ in range(steps):
        optimiser.zero_grad()
        scored = handle.score(batch)
        (scored.nll.sum() / scored.count.sum()).backward()
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    handle.module.eval()
    return handle
