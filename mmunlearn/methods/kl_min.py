"""KL minimisation: ascend on the forget set while the retain outputs stay those of the original model."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._pairing import Paired, original, paired_phase, retain_terms
from mmunlearn.methods.base import GradientMethod, Need, Phase, Step, Term


class KlMin(GradientMethod):
    """Minimise `−beta·CE(forget) + alpha·KL(original ‖ model)(retain)`.

    Source: objectives_and_seeds 3.1 and 3.2 (TOFU). Norm mode: `norm`; the original is always asked in evaluation mode.
    Differs from the reference: the divergence covers supervised positions only and is computed from a frozen copy, a
    cache or switched-off adapters; TOFU takes all positions, prompt and padding included.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE, Need.LOGITS})
    paper = "Maini et al. 2024 (TOFU, KL minimisation)"

    toy = {"epochs": 10, "batch_size": 12, "optimiser": {"lr": 0.01}}

    class Config(Paired):
        """beta: weight of the forget part. reference: see Reference."""

        epochs: int = 5
        beta: float = 1.0
        retain: Literal["kl"] = "kl"  # type: ignore[assignment]  # narrower than the others'
        reference: Literal["auto", "cached", "adapters_off", "frozen_copy"] = "auto"

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Keep the original's outputs on the retain set."""
        self._original = original(self, handle, data["retain"])

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase on paired batches."""
        return paired_phase(self, self._terms, data)

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        terms = retain_terms(self, handle, batches, self._original)
        if "forget" in batches:
            terms["forget"] = Term(handle.score(batches["forget"]).nll.sum(), "forget", -self.config.beta)
        return terms
