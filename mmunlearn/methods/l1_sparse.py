"""l1-sparse unlearning: fine-tune on the retain set under a fading ‖θ‖₁ penalty."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from mmunlearn import losses
from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term


class L1Sparse(GradientMethod):
    """Minimise `CE(retain) + α_e ‖θ‖₁` with `α_e = alpha · (1 − e / (E − plain_epochs))` in epoch e = 0, 1, …

    The last `plain_epochs` epochs have no penalty; if all E epochs are meant to be plain the weight is the constant
    `alpha`, as coded. The norm covers all trainable parameters, biases and norm layers too. Source: vision.md 6.1
    (Unlearn-Sparse repository, unlearn/FT.py; SGD lr .01, 10 epochs). Norm mode: `norm`, batch statistics as published.
    Differs from the reference: its parser's alpha is .2, which removes 2e-3 from every weight in every step at lr .01;
    the default here is smaller and is a choice of this suite.
    """

    needs = frozenset({Need.RETAIN})
    paper = "Jia et al. 2023, Model Sparsity Can Simplify Machine Unlearning"

    class Config(GradientMethod.Config):
        """alpha: weight of the norm in the first epoch; plain_epochs: epochs without it at the end."""

        optimiser: Optimiser = Optimiser(lr=0.01, momentum=0.9, weight_decay=5e-4)
        epochs: int = 10
        alpha: float = Field(5e-4, ge=0)
        plain_epochs: int = Field(0, ge=0)

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase of penalised cross-entropy."""
        return [self.simple_phase(self._terms, {"retain": self.stream(data["retain"])}, "retain")]

    def weight(self, epoch: int) -> float:
        """α_e."""
        c = self.config
        if c.epochs == c.plain_epochs:
            return c.alpha
        return c.alpha * max(0.0, 1 - epoch / (c.epochs - c.plain_epochs)) if c.epochs > c.plain_epochs else 0.0

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        batch = batches["retain"]
        terms = {"ce": Term(handle.score(batch).nll.sum(), "retain")}
        weight = self.weight(step.epoch)
        if weight:
            # Times the examples of this micro-batch, over those of the step: counted once however the step is cut.
            norm = losses.absolute_sum(p for _, p in handle.trainable()) * len(batch)
            terms["l1"] = Term(norm, "retain.examples", weight)
        return terms
