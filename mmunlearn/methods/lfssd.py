"""Loss-free SSD (LFSSD): selective dampening by the sensitivity of the outputs' length, without labels."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._dampening import dampen_selected
from mmunlearn.methods.base import EditMethod, Need
from mmunlearn.settings import Settings


class Lfssd(EditMethod):
    """`θ ← θ · min(λ I_D / I_f, 1)` where `I_f > α I_D`; I = mean absolute gradient of ‖logits‖², D = forget and
    retain.

    No training, no label. Source: vision.md 6.7 (SSD repository). `importance` as in ssd; the bound |D|/|D_f| on a
    useful α holds for absolute gradients too. Norm mode: stored statistics; buffers are untouched.
    Differs from the paper: nothing. Answers of several tokens use the mean of ‖logits‖² over their tokens.
    """

    needs = frozenset({Need.FORGET, Need.TRAIN, Need.LOGITS})
    paper = "Foster et al. 2024, Loss-Free Machine Unlearning"

    toy = {"alpha": 1.2, "batch_size": 6, "cache": False}

    class Config(Settings):
        """The fields of ssd."""

        alpha: float = Field(10.0, gt=0)
        dampening: float = Field(1.0, ge=0)
        importance: Literal["batch", "sample"] = "batch"
        batch_size: int = 64
        cache: bool = True

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Measure and dampen."""
        dampen_selected(handle, data, run, self.config, loss="energy", power="absolute")
