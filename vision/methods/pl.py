"""PL (pseudo-label): train each forget picture on the best remaining class of the original model."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.losses import need_logits
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term

from ..handle import VisionHandle
from .boundary_shrink import nearest_targets


class Pl(GradientMethod):
    """Minimise CE(x, y') on the forget set, y' = argmax of the original's logits with excluded classes at −∞.

    exclude "classes" (class forgetting): all classes of the forget set, as published. exclude "own" (identity
    forgetting, where forget and retain set share classes): only the example's own class. "auto" takes "classes" unless
    no class would be left. The event "pseudo_labels" says which one was used.
    Source: vision.md 3.3 (yongwookim1/UUEF). Differs from the source: labels are found once, on the evaluation view.
    Norm mode: train. Multi-label (vision.md 6.17): y' = signs of the original's logits, the smallest margin flipped
    where they equal the example's own labels.
    """

    needs = frozenset({Need.FORGET, Need.REFERENCE, Need.LOGITS})
    paper = "Are We Truly Forgetting? (UUEF; pseudo-label baseline)"

    toy = {"batch_size": 12, "optimiser": {"lr": 0.01}}

    class Config(GradientMethod.Config):
        """exclude: which classes a pseudo-label may not be."""

        exclude: Literal["auto", "classes", "own"] = "auto"
        optimiser: Optimiser = Optimiser(lr=1e-3, momentum=0.9)
        epochs: int = 5

    @torch.no_grad()
    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Find the labels with the original."""
        forget, self._labels = data["forget"], {}
        training = handle.module.training
        handle.module.eval()
        excluded: set[int] | None = None
        for start in range(0, len(forget), 256):
            batch = handle.collate(forget[start : start + 256]).to(handle.device)
            scored = handle.score(batch)
            logits = need_logits(scored, "pl")
            if handle.family == "categorical":
                if start == 0:
                    excluded = self._excluded(forget, logits.shape[-1])
                if excluded is not None:
                    logits[..., sorted(excluded)] = float("-inf")
            found = nearest_targets(logits, batch.tensors["target"], handle.family, wrong_only=True)
            for name, row in zip(batch.ids, found.tolist(), strict=True):
                self._labels[name] = row[0] if handle.family == "categorical" else tuple(row)
        handle.module.train(training)
        run.event("pseudo_labels", exclude="own" if excluded is None else "classes")

    def _excluded(self, forget: Split, classes: int) -> set[int] | None:
        """Classes of the forget set, or None to exclude each example's own class only."""
        present = {int(example.target) for example in forget}
        if self.config.exclude == "own" or (self.config.exclude == "auto" and len(present) == classes):
            return None
        if len(present) == classes:
            raise UserError(
                f"pl: method.exclude=classes leaves none of the {classes} classes, the forget set has them all.\n"
                "Use method.exclude=own."
            )
        return present

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the forget set."""
        return [
            self.simple_phase(self._terms, {"forget": self.stream(data["forget"], relabel=self._relabel)}, "forget")
        ]

    def _relabel(self, example: Example, epoch: int) -> Example:
        return example.with_target(self._labels[example.id])

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        return {"pseudo": Term(handle.score(batches["forget"]).nll.sum(), "forget")}
