"""Negative preference optimisation (NPO): ascent that fades as an example is forgotten relative to the original."""

from collections.abc import Mapping, Sequence
from typing import Literal

from mmunlearn import losses
from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._pairing import Paired, original, paired_phase, retain_terms
from mmunlearn.methods.base import GradientMethod, Need, Phase, Step, Term


class Npo(GradientMethod):
    """Minimise `gamma·mean_forget −(2/β) log σ(β (nll − nll of the original)) + alpha·retain part`.

    The nll is summed over an answer and the mean is over examples. Source: Zhang, Lin, Bai and Mei 2024, eq. 3;
    settings of objectives_and_seeds 3.5 (licong-lin/negative-preference-optimization, TOFU: AdamW lr 1e-5, wd .01, 10
    epochs, batch 32, β = .1). `retain`: none is the paper's NPO, nll its NPO+RT, kl its NPO+KL. Norm mode: `norm`;
    the original is always asked in evaluation mode. Differs from the paper: nothing. Not offered under this name:
    MUSE's variant on raw logits and the variant with the batch mean inside the sigmoid, which are other formulas.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE})
    paper = "Zhang et al. 2024, Negative Preference Optimization"

    toy = {"epochs": 10, "batch_size": 12, "optimiser": {"lr": 0.01}}

    class Config(Paired):
        """beta: inverse temperature; gamma: weight of the forget part. reference: see Reference."""

        beta: float = 0.1
        gamma: float = 1.0
        reference: Literal["auto", "cached", "adapters_off", "frozen_copy"] = "auto"

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Keep the original's records: on the forget set, and on the retain set for the KL."""
        more = [data["retain"]] if self.config.retain == "kl" else []
        self._original = original(self, handle, data["forget"], *more)

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase on paired batches."""
        return paired_phase(self, self._terms, data)

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        terms = retain_terms(self, handle, batches, self._original)
        if "forget" in batches:
            before = self._original.score(batches["forget"]).nll
            loss = losses.npo(handle.score(batches["forget"]).nll, before, beta=self.config.beta)
            terms["forget"] = Term(loss.sum(), "forget.examples", self.config.gamma)
        return terms
