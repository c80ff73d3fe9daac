"""Bad teaching: learn the forget set from an incompetent teacher and the retain set from the original."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field

from mmunlearn import losses
from mmunlearn.data import Role, Split, union
from mmunlearn.handle import Handle
from mmunlearn.methods._pairing import kl_over
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.reference import Reference
from mmunlearn.seeds import derive, generator


class BadTeaching(GradientMethod):
    """Minimise KL(teacher ‖ model) at temperature T; the teacher of a forget example is a newly initialised network,
    that of a retain example the original.

    One shuffled pass over the forget set and a random `retain_frac` of the retain set. No T² factor, as coded.
    Source: vision.md 6.5 (Bad-Teaching repository: Adam lr 1e-4, 1 epoch, batch 256, T 1). Label vectors: two-point
    divergences summed over labels. Norm mode: `norm` (batch statistics as published); both teachers in evaluation
    mode. Differs from the reference: `reduction: mean` is its default average over all elements, which divides the
    gradient by the number of classes once more; the default here is the divergence an example (`batchmean`), the
    paper's formula.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE, Need.LOGITS, Need.FRESH})
    paper = "Chundawat et al. 2023, Can Bad Teaching Induce Forgetting?"

    toy = {"epochs": 20, "batch_size": 12, "optimiser": {"name": "sgd", "lr": 0.5}, "retain_frac": 1.0}

    class Config(GradientMethod.Config):
        """temperature: T; retain_frac: share of the retain set that takes part, 0..1; reduction: see above."""

        optimiser: Optimiser = Optimiser(name="adam", lr=1e-4)
        epochs: int = 1
        batch_size: int = 256
        temperature: float = Field(1.0, gt=0)
        retain_frac: float = Field(0.3, ge=0, le=1)
        reduction: Literal["batchmean", "mean"] = "batchmean"

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Copy the original, make the incompetent teacher, draw the retain examples."""
        self._good = Reference(handle, "auto")
        self._bad = Reference(handle.fresh(derive(run.seed, "init", "incompetent")), "frozen_copy")
        retain = data["retain"]
        draw = generator(run.seed, "sample", "bad_teaching").permutation(len(retain))
        kept = sorted(draw[: round(self.config.retain_frac * len(retain))])
        self._forget_ids = frozenset(data["forget"].ids)
        self._mixed = union("mixed", Role.TRAIN, data["forget"], retain.subset(kept))

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the mixed set."""
        return [self.simple_phase(self._terms, {"mixed": self.stream(self._mixed)}, "mixed")]

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        batch = batches["mixed"]
        scored = handle.score(batch)
        student = losses.need_logits(scored, self.name())
        good = losses.need_logits(self._good.score(batch), self.name())
        bad = losses.need_logits(self._bad.score(batch), self.name())
        forget = torch.tensor([i in self._forget_ids for i in batch.ids], device=student.device)
        teacher = torch.where(forget[:, None, None], bad, good)
        each = losses.divergence(teacher, student, scored.family, temperature=self.config.temperature)
        weight = 1.0
        if self.config.reduction == "mean":  # over classes, or over the labels of a label vector
            weight = 1 / (student.shape[1] if scored.family == "bernoulli" else student.shape[2])
        return {"kl": Term(losses.masked_sum(each, scored).sum(), kl_over(scored, "mixed"), weight)}
