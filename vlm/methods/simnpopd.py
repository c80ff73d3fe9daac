"""SimNPO with the prompt decouple loss."""

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Simnpopd(ObjectiveMethod):
    """Minimise `0.1375·mean −(2/β) log σ(β nll/|y| − γ) + CE(retain) + CE(pd)`.

    Source: Fan et al. 2024 for SimNPO (β 2.5, γ 0, weight .1375 of TOFU forget05; see the core's `simnpo`) with
    SafeEraser's PD loss at weight 1; the combination is ours. Differs from the paper: nothing.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, "pd"})
    paper = "Fan et al. 2024 (SimNPO); Chen et al. 2025 (PD loss)"
    rule = "simnpo"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(forget=0.1375, retain=1.0, pd=1.0)
        beta: float = 2.5
