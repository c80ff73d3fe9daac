"""KL minimisation: ascend on forget answers while retain outputs stay those of the original."""

from typing import Literal

from mmunlearn.methods.base import Need

from ._objective import ObjectiveMethod, Weights


class Kl(ObjectiveMethod):
    """Minimise `−CE(forget) + KL(original ‖ model)(retain)`.

    Source: vlm_fiu_mmu_safe 1.4 and 3.2. Differs from the reference: the divergence is averaged over answer tokens;
    `kl_scope: all` averages over every position of the padded batch (prompt, image tokens and padding too), as
    released; there the retain batch is padded to the forget batch's length as well.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN, Need.REFERENCE})
    paper = "Ma et al. 2024 (FIUBench); Chen et al. 2025 (SafeEraser)"

    class Config(ObjectiveMethod.Config):
        """Fields of ObjectiveMethod with this method's weights."""

        weights: Weights = Weights(retain=1.0)
        retain: Literal["ce", "kl"] = "kl"
