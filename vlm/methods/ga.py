"""Gradient ascent (GA) on answers: raise the loss of the forget set."""

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod


class Ga(ObjectiveMethod):
    """Minimise `−CE(forget)`, the mean over the answer tokens of a batch.

    Source: vlm_fiu_mmu_safe 1.4 and 3.2. Differs from the paper: nothing; the objective has no minimum, so long runs
    collapse. `limit_nats` (off) stops at a loss an item.
    """

    needs = frozenset({Need.FORGET})
    paper = "Ma et al. 2024 (FIUBench); Chen et al. 2025 (SafeEraser)"
