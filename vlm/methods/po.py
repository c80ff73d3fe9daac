"""Preference optimisation (PO, also IDK): answer forget questions with a refusal, retain questions as before."""

from mmunlearn.methods.base import Need
from mmunlearn.objective import Part

from ._objective import ObjectiveMethod


class Po(ObjectiveMethod):
    """Minimise `CE({refusals} ∪ {retain answers})`: one mean over all answer tokens of both.

    Source: vlm_fiu_mmu_safe 1.4 and 3.2 (key `idk`); a refusal is drawn uniformly at each access. Differs from the
    paper: nothing; despite its name it has no preference term. It hides an answer rather than removing it.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, "refusal"})
    paper = "Ma et al. 2024 (FIUBench); Chen et al. 2025 (SafeEraser)"
    intent = "suppression"
    rule = "po"

    class Config(ObjectiveMethod.Config):
        """apart: half of each set's own mean instead of one mean over both, as trainers have it that take the two in
        turn and step after both (OFFSIDE)."""

        apart: bool = False

    def table(self) -> tuple[Part, ...]:
        """As the rule says, or refusals and retain answers apart."""
        if not self.config.apart:
            return super().table()
        weight = self.config.weights.forget / 2
        return (Part("ce", ("refusal",), weight), Part("ce", ("retain",), weight), *super().table()[3:])
