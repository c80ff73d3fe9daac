"""SimNPO: negative preference optimisation on length-normalised likelihoods, without a reference model."""

from collections.abc import Mapping, Sequence

from mmunlearn import losses
from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._pairing import Paired, original, paired_phase, retain_terms
from mmunlearn.methods.base import GradientMethod, Need, Phase, Step, Term


class Simnpo(GradientMethod):
    """Minimise `weight·mean_forget −(2/β) log σ(β·nll/|y| − γ) + alpha·retain part`.

    Source: Fan et al. 2024; settings of objectives_and_seeds 3.6 (TOFU forget05: β 2.5, γ 0, weight .1375; forget10:
    β 4.5, weight .125; AdamW lr 1e-5, 10 epochs, batch 32). |y| counts the supervised items. Norm mode: `norm`.
    Differs from the reference: γ stands outside β as in the paper; `margin_inside_beta` gives the released code's
    `σ(β (nll/|y| − γ))`. The raw-logit rule of the reference's MUSE branch is another formula and not offered.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Fan et al. 2024, Simplicity Prevails (SimNPO)"

    toy = {"epochs": 10, "batch_size": 12, "optimiser": {"lr": 0.01}}

    class Config(Paired):
        """beta, gamma: the paper's β and γ; weight: of the forget part."""

        beta: float = 2.5
        gamma: float = 0.0
        margin_inside_beta: bool = False
        weight: float = 0.1375

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """The original's outputs are needed for the KL retain part alone."""
        self._original = original(self, handle, data["retain"]) if self.config.retain == "kl" else None

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase on paired batches."""
        return paired_phase(self, self._terms, data)

    def _terms(self, handle: Handle, batches, step: Step) -> dict[str, Term]:
        c = self.config
        terms = retain_terms(self, handle, batches, self._original)
        if "forget" in batches:
            scored = handle.score(batches["forget"])
            loss = losses.simnpo(
                scored.nll, scored.count, beta=c.beta, gamma=c.gamma, margin_inside_beta=c.margin_inside_beta
            )
            terms["forget"] = Term(loss.sum(), "forget.examples", c.weight)
        return terms
