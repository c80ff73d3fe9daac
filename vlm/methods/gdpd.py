"""Gradient difference with the prompt decouple loss (GD+PD)."""

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Gdpd(ObjectiveMethod):
    """Minimise `−CE(forget) + 0.5·CE(retain) + 0.5·CE(pd)`.

    Source: vlm_fiu_mmu_safe 3.2 (SafeEraser repository, forget.py); the retain weight is halved there beside plain GD.
    Differs from the paper: nothing.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, "pd"})
    paper = "Chen et al. 2025 (SafeEraser, PD loss)"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(retain=0.5, pd=0.5)
