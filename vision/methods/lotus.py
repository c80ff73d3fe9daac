"""LoTUS: smooth the teacher's answers on the forget set until the model is no surer of them than of unseen pictures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmunlearn.data import Role, Split
from mmunlearn.handle import Batch, Family
from mmunlearn.losses import need_logits
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.reference import Reference
from mmunlearn.seeds import derive, generator, uniforms

from ..handle import VisionHandle


class Lotus(GradientMethod):
    """Minimise the cross-entropy to targets drawn from the original model (the teacher) with Gumbel noise.

    Retain examples (a part `retain_frac` of the set): a hard draw from softmax(z_teacher). Forget examples:
    softmax((z_teacher + Gumbel)/τ), τ = exp(alpha·(acc_forget(student) − acc_calibration(teacher))), set anew before
    every epoch; the run ends when that difference is −`margin` or less. Sources: Spartalis et al. 2025, and vision.md
    6.15 (cspartalis/LoTUS: AdamW lr 1e-4, weight decay 5e-4, 10 epochs, alpha 2 on MUFAC, 8 on CIFAR-10).
    Differs from the reference: accuracies are not rounded to two decimals (`rounded: true` does it, which also makes
    the stop act on rounded numbers); draws are keyed by example and epoch. `gumbel: false` is its option "softmax":
    argmax for retain examples, softmax(z/τ) for forget examples.
    Norm mode: train. Multi-label (vision.md 6.17): each label is a two-way draw, so Gumbel noise becomes logistic noise
    on the logit; accuracy is the share of right labels; binary cross-entropy.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.CALIBRATION, Need.REFERENCE, Need.LOGITS})
    paper = "Spartalis et al. 2025 (LoTUS)"

    toy = {"batch_size": 12, "optimiser": {"lr": 0.001}}

    class Config(GradientMethod.Config):
        """alpha: how strongly the accuracy gap heats. class_forgetting: aims at accuracy 0 instead of the
        calibration accuracy."""

        alpha: float = 2.0
        retain_frac: float = 0.3
        margin: float = 0.01
        rounded: bool = False
        gumbel: bool = True
        class_forgetting: bool = False
        optimiser: Optimiser = Optimiser(name="adamw", lr=1e-4, weight_decay=5e-4)
        epochs: int = 10

    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """The teacher, its calibration accuracy and the first temperature."""
        forget, retain = data["forget"], data["retain"]
        self._run, self._forget = run, forget
        count = int(self.config.retain_frac * len(retain))
        chosen = np.sort(generator(run.seed, "data", "lotus", "subset").permutation(len(retain))[:count])
        examples = (*forget.examples, *retain.subset(chosen).examples)
        self._mixed = Split("forget and retain", Role.TRAIN, examples)
        self._forget_ids = frozenset(forget.ids)
        self._teacher = Reference(handle, augmented=self.config.augment)
        if self._teacher.kind == "cached":
            self._teacher.fill([self._mixed])
        self._goal = 0.0 if self.config.class_forgetting else self._accuracy(handle, data["calibration"])
        self._gap = self._accuracy(handle, forget) - self._goal
        self._note(0)

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over forget and retain examples together; none when there is nothing to forget at the start."""
        if self._gap <= -self.config.margin:
            return []
        stream = self.stream(self._mixed)
        return [self.simple_phase(self._terms, {"mixed": stream}, "mixed", after_epoch=self._after_epoch)]

    @property
    def temperature(self) -> float:
        """τ of the current epoch."""
        return math.exp(self.config.alpha * self._gap)

    def state(self) -> dict[str, Any]:
        """The accuracy gap that sets the temperature."""
        return {"gap": self._gap}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the gap back."""
        self._gap = float(state["gap"])

    def _after_epoch(self, handle: VisionHandle, step: Step) -> bool:
        self._gap = self._accuracy(handle, self._forget) - self._goal
        self._note(step.epoch + 1)
        return self._gap <= -self.config.margin

    def _note(self, epoch: int) -> None:
        self._run.event("lotus", epoch=epoch, accuracy_gap=self._gap, temperature=self.temperature)

    @torch.no_grad()
    def _accuracy(self, handle: VisionHandle, split: Split) -> float:
        training = handle.module.training
        handle.module.eval()
        right = total = 0
        for start in range(0, len(split), 256):
            scored = handle.score(handle.collate(split[start : start + 256]).to(handle.device))
            assert scored.targets is not None
            z = need_logits(scored, "lotus")
            guess = z.argmax(-1) if handle.family == "categorical" else (z[..., 0] > 0).long()
            right += int((guess == scored.targets).sum())
            total += guess.numel()
        handle.module.train(training)
        accuracy = right / max(total, 1)
        return round(accuracy, 2) if self.config.rounded else accuracy

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        batch: Batch = batches["mixed"]
        z = need_logits(self._teacher.score(batch), "lotus")
        forget = torch.tensor([name in self._forget_ids for name in batch.ids], device=z.device)
        noise = torch.zeros_like(z)
        if self.config.gumbel:
            noise = draw_noise(batch.keys, derive(step.seed, "sample", "lotus", step.epoch), z, handle.family)
        goal = soft_targets(z + noise, forget, self.temperature, handle.family)
        loss = soft_cross_entropy(need_logits(handle.score(batch), "lotus"), goal, handle.family)
        return {"lotus": Term(loss.sum(), "mixed")}


def draw_noise(keys: np.ndarray, stream: int, like: Tensor, family: Family) -> Float[Tensor, "batch item vocab"]:
    """Gumbel noise (bernoulli: logistic, the difference of two Gumbels), a function of (key, stream, column)."""
    u = uniforms(keys, stream, like[0].numel()).reshape(tuple(like.shape)).clip(1e-12, 1 - 1e-12)
    noise = np.log(u) - np.log1p(-u) if family == "bernoulli" else -np.log(-np.log(u))
    return torch.from_numpy(noise).to(like)


def soft_targets(
    z: Float[Tensor, "batch item vocab"], forget: Tensor, temperature: float, family: Family
) -> Float[Tensor, "batch item vocab"]:
    """Hard targets for retain rows, targets at `temperature` for forget rows."""
    if family == "bernoulli":
        hard, soft = (z > 0).to(z), torch.sigmoid(z / temperature)
    else:
        hard = functional.one_hot(z.argmax(-1), z.shape[-1]).to(z)
        soft = torch.softmax(z / temperature, -1)
    return torch.where(forget[:, None, None], soft, hard)


def soft_cross_entropy(
    logits: Float[Tensor, "batch item vocab"], goal: Float[Tensor, "batch item vocab"], family: Family
) -> Float[Tensor, "batch item"]:
    """Cross-entropy to soft targets, in nats."""
    if family == "bernoulli":
        return functional.binary_cross_entropy_with_logits(logits, goal, reduction="none").sum(-1)
    return -(goal * functional.log_softmax(logits, -1)).sum(-1)
