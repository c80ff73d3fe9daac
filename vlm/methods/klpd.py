"""KL minimisation with the prompt decouple loss (KL+PD)."""

from typing import Literal

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Klpd(ObjectiveMethod):
    """Minimise `−CE(forget) + KL(original ‖ model)(retain) + CE(pd)`.

    Source: vlm_fiu_mmu_safe 3.2 (SafeEraser repository, forget.py); pd has weight 1 here, not 0.5.
    Differs from the reference: `kl_scope`, as in `kl`.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE, "pd"})
    paper = "Chen et al. 2025 (SafeEraser, PD loss)"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(retain=1.0, pd=1.0)
        retain: Literal["ce", "kl"] = "kl"
