"""MUNBa (Nash bargaining): retaining and forgetting bargain over the direction of every step."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from mmunlearn.data import Example, Split
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.order import batches_per_epoch
from mmunlearn.seeds import generator

from ..handle import VisionHandle


class Munba(GradientMethod):
    """Step on `a_r·g_r + a_f·g_f`, the Nash bargaining solution of g_r = ∇CE(retain) and g_f = ∇CE(relabelled forget).

    a_r = 1/(‖g_r‖·√(1+cos)), a_f = 1/(‖g_f‖·√(1+cos)), cos the cosine of the two gradients: the closed form of the
    paper's solution in a shape that stays finite (vision.md 6.13). Where the two point exactly apart, or one is zero,
    there is no bargain: g_r + fallback·g_f. Forget labels are drawn uniformly, the true one included, anew each epoch.
    The forget set is read once an epoch; after it, the epoch goes on with plain steps on the retain loss, unclipped.
    Source: Wu and Harandi, MUNBa (2024), and vision.md 6.13 (JingWu321/MUNBa Classification: momentum .9, weight
    decay 5e-4, gradient norm clipped to 1).
    Differs from the reference: it adds 1e-8 to denominators whose size is not bounded below, which for small gradients
    turns the step into the forget gradient alone; `formula: reference` does the same. It needs three backward passes,
    here two. `cycle_forget: true` bargains in every step.
    Norm mode: train. Multi-label (vision.md 6.17): binary cross-entropy; each forget label is a fair coin.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Wu and Harandi 2024 (MUNBa)"

    toy = {"batch_size": 12, "optimiser": {"lr": 0.005}}

    class Config(GradientMethod.Config):
        """formula: stable closed form, or the reference's arithmetic. fallback: weight of g_f without a bargain.
        clip_norm: applies to the bargained steps only. cycle_forget: bargain in every step."""

        formula: Literal["stable", "reference"] = "stable"
        fallback: float = 0.1
        cycle_forget: bool = False
        optimiser: Optimiser = Optimiser(lr=0.01, momentum=0.9, weight_decay=5e-4)
        epochs: int = 10
        clip_norm: float | None = 1.0

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase; an epoch is one pass over the retain set."""

        def relabel(example: Example, epoch: int) -> Example:
            draw = generator(run.seed, "labels", "munba", epoch, example.id)
            return example.with_target(handle.random_target(example, draw))

        forget, retain = self.stream(data["forget"], relabel=relabel), self.stream(data["retain"])
        self._forget_steps = batches_per_epoch(len(forget.split), forget.batch_size)
        # The engine would clip plain steps too, so the bargain clips itself.
        options = {"combine": self._combine, "clip_norm": None}
        return [self.simple_phase(self._terms, {"retain": retain, "forget": forget}, "retain", **options)]

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        bargaining = self.config.cycle_forget or step.step < self._forget_steps
        terms = {}
        # A micro-batch may hold examples of one stream only.
        if "retain" in batches:
            terms["retain"] = Term(handle.score(batches["retain"]).nll.sum(), "retain")
        if "forget" in batches and bargaining:
            terms["forget"] = Term(handle.score(batches["forget"]).nll.sum(), "forget")
        return terms

    def _combine(self, gradients: Mapping[str, list[Tensor]]) -> list[Tensor]:
        if "forget" not in gradients:
            return gradients["retain"]
        r, f = gradients["retain"], gradients["forget"]
        weights = bargain if self.config.formula == "stable" else reference_bargain
        a_r, a_f = weights(dot(r, r), dot(r, f), dot(f, f), self.config.fallback)
        mixed = [a_r * x + a_f * y for x, y in zip(r, f, strict=True)]
        limit = self.config.clip_norm
        if limit is not None:
            norm = dot(mixed, mixed) ** 0.5
            if norm > limit:
                mixed = [x * (limit / (norm + 1e-6)) for x in mixed]
        return mixed


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    """Inner product of two lists of tensors, accumulated in double precision."""
    return float(sum((x.double() * y.double()).sum() for x, y in zip(a, b, strict=True)))


def bargain(g1: float, g2: float, g3: float, fallback: float) -> tuple[float, float]:
    """Weights of retain and forget gradient from g1 = ‖g_r‖², g2 = g_r·g_f, g3 = ‖g_f‖²."""
    if g1 <= 0 or g3 <= 0:
        return 1.0, fallback
    # Norms first: the product of two small squared norms would underflow.
    r, f = g1**0.5, g3**0.5
    rest = 1 + g2 / r / f
    if rest <= 1e-12:
        return 1.0, fallback
    return 1 / (r * rest**0.5), 1 / (f * rest**0.5)


def reference_bargain(g1: float, g2: float, g3: float, fallback: float) -> tuple[float, float]:
    """The reference's arithmetic in single precision, its additive 1e-8 included."""
    one, two, three = (torch.tensor(value, dtype=torch.float32) for value in (g1, g2, g3))
    root = torch.sqrt(one * three)
    a_r = torch.sqrt((one * three - two * root) / (one * one * three - one * two * two + 1e-8))
    a_f = (1 - one * a_r * a_r) / (two * a_r + 1e-8)
    if a_r > 0 and a_f > 0:
        return float(a_r), float(a_f)
    return 1.0, fallback
