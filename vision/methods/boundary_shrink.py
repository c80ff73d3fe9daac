"""Boundary shrink: give each forget picture the label on the other side of its nearest decision boundary."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmunlearn.data import Example, Split
from mmunlearn.handle import Batch, Family
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term

from ..handle import VisionHandle
from ._fgsm import fgsm


class BoundaryShrink(GradientMethod):
    """Minimise CE(x, y') on the forget set, y' = the best wrong class of the original on the FGSM picture of x.

    x' = clip(x + bound·sign(∇ₓ CE(θ₀; x, y)), 0, 1) rounded to 1/255; y' = argmax_{c ≠ y} z_c(θ₀; x').
    Source: Chen et al., CVPR 2023, and vision.md 6.10 (TY-LEE-KR/Boundary-Unlearning-Code: bound .1, SGD lr 1e-5,
    momentum .9, 10 epochs, train mode). Written for class forgetting; for identities the rule applies unchanged.
    Differs from the reference: there y' = argmax over all classes, so a failed attack trains the true label harder
    (`wrong_only: false` does it), the attack's pictures are normalised with a misprinted mean (never here), and labels
    are found again in every batch; here once, on the evaluation view, unless `labels: each_batch`.
    Norm mode: train. Multi-label (vision.md 6.17): y' = signs of z(θ₀; x'); where no sign changed, the label with the
    smallest margin is flipped (`wrong_only`), which is the nearest other label vector.
    """

    needs = frozenset({Need.FORGET, Need.REFERENCE, Need.LOGITS})
    paper = "Chen et al. 2023 (boundary unlearning)"

    toy = {"batch_size": 12, "optimiser": {"lr": 0.01}}

    class Config(GradientMethod.Config):
        """bound: FGSM step in 0..1 pixels. labels: when the new labels are found."""

        bound: float = 0.1
        rounded: bool = True
        wrong_only: bool = True
        labels: Literal["once", "each_batch"] = "once"
        optimiser: Optimiser = Optimiser(lr=1e-5, momentum=0.9)
        epochs: int = 10

    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Find the new labels with the original, or keep a copy of it."""
        self._labels: dict[str, int | tuple[int, ...]] = {}
        self._original: VisionHandle | None = None
        if self.config.labels == "each_batch":
            self._original = handle.copy()
            self._original.module.eval().requires_grad_(False)
            return
        training = handle.module.training
        handle.module.eval()
        forget, changed = data["forget"], 0
        for start in range(0, len(forget), 256):
            batch = handle.collate(forget[start : start + 256]).to(handle.device)
            found = self._nearest(handle, batch)
            changed += int((found != batch.tensors["target"]).any(-1).sum())
            for name, row in zip(batch.ids, found.tolist(), strict=True):
                self._labels[name] = row[0] if handle.family == "categorical" else tuple(row)
        handle.module.train(training)
        run.event("relabelled", examples=len(forget), changed=changed)

    def _nearest(self, original: VisionHandle, batch: Batch) -> Int[Tensor, "batch item"]:
        moved = fgsm(original, original.inputs(batch), batch, self.config.bound, rounded=self.config.rounded)
        with torch.no_grad():
            logits = original.logits(moved)
        return nearest_targets(logits, batch.tensors["target"], original.family, wrong_only=self.config.wrong_only)

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the forget set."""
        relabel = self._relabel if self.config.labels == "once" else None
        return [
            self.simple_phase(self._terms, {"forget": self.stream(data["forget"], relabel=relabel)}, "forget"),
        ]

    def _relabel(self, example: Example, epoch: int) -> Example:
        return example.with_target(self._labels[example.id])

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        batch = batches["forget"]
        if self._original is not None:
            self._original.module.to(batch.count.device)
            targets = self._nearest(self._original, batch)
            batch = replace(batch, tensors=batch.tensors | {"target": targets})
        return {"shrink": Term(handle.score(batch).nll.sum(), "forget")}


def nearest_targets(
    logits: Float[Tensor, "batch item vocab"], targets: Int[Tensor, "batch item"], family: Family, *, wrong_only: bool
) -> Int[Tensor, "batch item"]:
    """Target that `logits` favour; with `wrong_only` the best one that differs from `targets`."""
    if family == "categorical":
        if wrong_only:
            logits = logits.scatter(-1, targets.unsqueeze(-1), float("-inf"))
        return logits.argmax(-1)
    z = logits[..., 0]
    signs = (z > 0).long()
    if wrong_only:
        same = (signs == targets).all(-1, keepdim=True)
        margin = (2 * targets - 1) * z
        nearest = torch.zeros_like(signs).scatter(-1, margin.argmin(-1, keepdim=True), 1)
        signs = torch.where(same, (signs + nearest) % 2, signs)
    return signs
