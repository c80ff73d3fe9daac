"""Gradient ascent with the prompt decouple loss (GA+PD)."""

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Gapd(ObjectiveMethod):
    """Minimise `−CE(forget) + 0.5·CE(pd)`.

    pd: the harmless picture with the same harmful wording and its ordinary answer. Source: vlm_fiu_mmu_safe 3.2
    (SafeEraser repository, forget.py). Differs from the paper: nothing.
    """

    needs = frozenset({Need.FORGET, "pd"})
    paper = "Chen et al. 2025 (SafeEraser, PD loss)"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(pd=0.5)
