"""Direct preference optimisation (refusal over forget answer) with the prompt decouple loss."""

from typing import Literal

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Dpopd(ObjectiveMethod):
    """Minimise `mean −(2/β) log σ(β (r_refusal − r_forget)) + CE(retain) + CE(pd)`.

    r is the log-ratio to the original. Source: Rafailov et al. 2023 in TOFU's form (β 0.1; see the core's `dpo`) with
    SafeEraser's PD loss at weight 1; the combination is ours. One refusal an example. Differs from the paper: nothing.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE, "refusal", "pd"})
    paper = "Rafailov et al. 2023; Chen et al. 2025 (PD loss)"
    intent = "suppression"
    rule = "dpo"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(retain=1.0, pd=1.0)
        refusals: Literal["access", "example"] = "example"
