"""Selective synaptic dampening (SSD): shrink the weights that matter far more for the forget set than for all data."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._dampening import dampen_selected
from mmunlearn.methods.base import EditMethod, Need
from mmunlearn.settings import Settings


class Ssd(EditMethod):
    """`θ ← θ · min(λ I_D / I_f, 1)` where `I_f > α I_D`; I = mean squared gradient of the loss, D = forget and retain.

    No training. Source: vision.md 6.7 (SSD repository, src/ssd.py; α 10, λ 1; ViT α 5; faces α 50, λ .1). `importance:
    batch` squares gradients of shuffled batches, as coded; `sample` those of single examples, the Fisher diagonal
    of the paper's text, for which α at or above |D|/|D_f| selects nothing (an event and a warning say so): choose it as
    a share of that ratio. Norm mode: stored statistics; buffers are untouched.
    Differs from the paper: nothing. The importance of D is cached by weights and data for later requests.
    """

    needs = frozenset({Need.FORGET, Need.TRAIN})
    paper = "Foster, Schoepf and Brintrup 2024, Selective Synaptic Dampening"

    toy = {"alpha": 2.0, "batch_size": 6, "cache": False}

    class Config(Settings):
        """alpha: the paper's α (selection); dampening: its λ; batch_size matters for the result with batch importances;
        cache: keep the importance of all data in the cache folder."""

        alpha: float = Field(10.0, gt=0)
        dampening: float = Field(1.0, ge=0)
        importance: Literal["batch", "sample"] = "batch"
        batch_size: int = 64
        cache: bool = True

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Measure and dampen."""
        dampen_selected(handle, data, run, self.config, loss="nll", power="squared")
