"""Gradient difference (NegGrad+, advanced NegGrad): descend on the retain set while ascending on the forget set."""

from collections.abc import Mapping, Sequence

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GradientMethod, Need, Phase, Step, Term


class GradDiff(GradientMethod):
    """Minimise `alpha·CE(retain) − beta·CE(forget)` on paired batches; the forget stream cycles.

    Sources: objectives_and_seeds 3.1 (GD: alpha = beta = 1); vision.md 1.5 (advanced NegGrad, 1:1) and 6.1 (NegGrad+:
    alpha = .95, beta = .05).
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Liu, Liu and Stone 2022; Kurmanji et al. 2023 (NegGrad+); Maini et al. 2024 (GD)"

    toy = {"epochs": 6, "batch_size": 12, "optimiser": {"lr": 0.3}}

    class Config(GradientMethod.Config):
        """alpha: weight of the retain loss; beta: weight of the ascent."""

        epochs: int = 2
        alpha: float = 1.0
        beta: float = 1.0
        forget_batch_size: int | None = None

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase; an epoch is one pass over the retain set."""
        size = self.config.forget_batch_size or self.config.batch_size
        streams = {"retain": self.stream(data["retain"]), "forget": self.stream(data["forget"], batch_size=size)}
        return [self.simple_phase(self._terms, streams, "retain")]

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        return {
            "retain": Term(handle.score(batches["retain"]).nll.sum(), "retain", self.config.alpha),
            "forget": Term(handle.score(batches["forget"]).nll.sum(), "forget", -self.config.beta),
        }
