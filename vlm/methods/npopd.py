"""Negative preference optimisation with the prompt decouple loss (NPO+PD)."""

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Npopd(ObjectiveMethod):
    """Minimise `mean −(2/β) log σ(β (nll − nll of the original)) + CE(retain) + CE(pd)`.

    Source: Zhang et al. 2024 for NPO (β 0.1; see the core's `npo`) with SafeEraser's PD loss at weight 1; the
    combination is ours. Differs from the paper: nothing.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE, "pd"})
    paper = "Zhang et al. 2024 (NPO); Chen et al. 2025 (PD loss)"
    rule = "npo"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(retain=1.0, pd=1.0)
