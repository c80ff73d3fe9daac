"""Preference optimisation with the prompt decouple loss (PO+PD)."""

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Popd(ObjectiveMethod):
    """Minimise `CE({refusals} ∪ {retain answers}) + CE(pd)`.

    Refusals answer harmful pictures alone: the same wording on a harmless picture keeps its ordinary answer. Source:
    vlm_fiu_mmu_safe 3.2 (SafeEraser repository, forget.py), key `idkpd`. Differs from the paper: nothing.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, "refusal", "pd"})
    paper = "Chen et al. 2025 (SafeEraser, PD loss)"
    intent = "suppression"
    rule = "po"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(pd=1.0)
