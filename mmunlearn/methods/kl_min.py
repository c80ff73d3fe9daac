"""KL minimisation: ascend on the forget set while the retain outputs stay those of the original model."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._pairing import original, paired_streams, retain_terms
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term


class KlMin(GradientMethod):
    """Minimise `−beta·CE(forget) + alpha·KL(original ‖ model)(retain)`.

    Source: objectives_and_seeds 3.1 and 3.2 (TOFU). Norm mode: `norm`; the original is always asked in evaluation mode.
    Differs from the reference: the divergence covers supervised positions only and is computed from a frozen copy, a
    cache or switched-off adapters; TOFU takes all positions, prompt and padding included.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE, Need.LOGITS})
    paper = "Maini et al. 2024 (TOFU, KL minimisation)"

    toy = {"epochs": 10, "batch_size": 12, "optimiser": {"lr": 0.01}}

    class Config(GradientMethod.Config):
        """pace: the set whose length makes an epoch; the other one cycles. reference: see Reference."""

        optimiser: Optimiser = Optimiser(name="adamw", lr=1e-5, weight_decay=0.01)
        epochs: int = 5
        batch_size: int = 32
        alpha: float = 1.0
        beta: float = 1.0
        retain: Literal["kl"] = "kl"
        pace: Literal["forget", "retain"] = "forget"
        forget_batch_size: int | None = None
        reference: Literal["auto", "cached", "adapters_off", "frozen_copy"] = "auto"

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Keep the original's outputs on the retain set."""
        self._original = original(self, handle, data["retain"])

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase on paired batches."""
        streams, driver = paired_streams(self, data)
        return [self.simple_phase(self._terms, streams, driver)]

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        terms = retain_terms(self, handle, batches, self._original)
        if "forget" in batches:
            terms["forget"] = Term(handle.score(batches["forget"]).nll.sum(), "forget", -self.config.beta)
        return terms
