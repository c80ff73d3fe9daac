"""Gradient difference (GD): ascend on forget answers, descend on retain answers."""

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Gd(ObjectiveMethod):
    """Minimise `−CE(forget) + CE(retain)`.

    Source: vlm_fiu_mmu_safe 1.4 and 3.2 (both weights 1). Differs from the paper: nothing. The core's `grad_diff` walks
    over the retain set instead of the forget set.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Ma et al. 2024 (FIUBench); Chen et al. 2025 (SafeEraser)"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(retain=1.0)
