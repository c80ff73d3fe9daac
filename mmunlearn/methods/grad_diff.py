"""Gradient difference (NegGrad+, advanced NegGrad): descend on the retain set while ascending on the forget set."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from mmunlearn import losses
from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._pairing import batch_length
from mmunlearn.methods.base import GradientMethod, Need, Phase, Step, Term


class GradDiff(GradientMethod):
    """Minimise `alpha·CE(retain) − beta·CE(forget) + alpha·(weight_distance/2)·‖θ − θ₀‖²` on paired batches.

    An epoch is a pass over the retain set; the forget stream cycles. Sources: objectives_and_seeds 3.1 (GD: alpha =
    beta = 1); vision.md 1.5 (advanced NegGrad, 1:1, SGD lr .001, 2 epochs) and 6.1 (SCRUB repository, NegGrad+: alpha
    .95, beta .05, SGD lr .01, 10 epochs; alpha .9999, beta .0001, 5 epochs in its MIA setting). Norm mode: `norm`;
    NegGrad+ as published runs with stored statistics (`eval`), MUFAC with batch statistics (`train`). Differs from
    the references: the forget stream goes on over the end of its pass, so that no forget batch is short; with
    `skip_unequal` the steps at which MUFAC's loaders give batches of unequal sizes are left out, as there.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Liu, Liu and Stone 2022; Kurmanji et al. 2023 (NegGrad+); Maini et al. 2024 (GD)"

    toy = {"epochs": 6, "batch_size": 12, "optimiser": {"lr": 0.3}}

    class Config(GradientMethod.Config):
        """alpha: weight of the retain loss; beta: weight of the ascent; weight_distance: pull towards the original's
        weights, on parameters alone."""

        epochs: int = 2
        alpha: float = 1.0
        beta: float = 1.0
        weight_distance: float = 0.0
        forget_batch_size: int | None = None
        skip_unequal: bool = False

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Keep θ₀ where the distance to it counts."""
        self._start: dict[str, Tensor] = {}
        if self.config.weight_distance:
            self._start = {name: p.detach().clone() for name, p in handle.trainable()}

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase; an epoch is one pass over the retain set."""
        size = self.config.forget_batch_size or self.config.batch_size
        self._loaders = ((len(data["retain"]), self.config.batch_size), (len(data["forget"]), size))
        streams = {"retain": self.stream(data["retain"]), "forget": self.stream(data["forget"], batch_size=size)}
        return [self.simple_phase(self._terms, streams, "retain")]

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        c = self.config
        if c.skip_unequal and len({batch_length(n, size, step.index) for n, size in self._loaders}) > 1:
            return {name: Term(batch.count.sum() * 0.0, name) for name, batch in batches.items()}
        terms = {}
        if "retain" in batches:
            terms["retain"] = Term(handle.score(batches["retain"]).nll.sum(), "retain", c.alpha)
            if self._start:
                now = [p for _, p in handle.trainable()]
                start = [self._start[name].to(p.device) for name, p in handle.trainable()]
                distance = losses.squared_distance(now, start) * len(batches["retain"])
                terms["distance"] = Term(distance, "retain.examples", c.alpha * c.weight_distance / 2)
        if "forget" in batches:
            terms["forget"] = Term(handle.score(batches["forget"]).nll.sum(), "forget", -c.beta)
        return terms
