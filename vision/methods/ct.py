"""CT (convolution transpose): turn every convolution kernel over its diagonal, then fine-tune on the retain set."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from mmunlearn.data import Split
from mmunlearn.methods.base import GradientMethod, Need, NormMode, Optimiser, Phase

from ..handle import VisionHandle
from ._fine_tuning import convolutions, retain_phase


class Ct(GradientMethod):
    """Swap height and width of every square convolution kernel, then minimise CE(retain) with a cosine rate.

    The forget set is never read: the swap costs both sets alike, and only the retain set is learned back. Kernels of
    one pixel, or not square, stay. Source: vision.md 5.3 (NeurIPS 2023 challenge, fifth place, as in Deep Unlearn:
    3 epochs, lr .001). Differs from the source: momentum .9 and no weight decay are ours, the sheet names none.
    Norm mode: train. Multi-label: the task loss is the binary cross-entropy.
    """

    needs = frozenset({Need.RETAIN})
    paper = "Deep Unlearn, arXiv 2410.01276 (CT, NeurIPS 2023 unlearning challenge)"

    toy = {"batch_size": 12, "epochs": 5, "optimiser": {"lr": 0.005}}

    class Config(GradientMethod.Config):
        """The source's recipe."""

        optimiser: Optimiser = Optimiser(lr=1e-3, momentum=0.9)
        epochs: int = 3
        schedule: Literal["constant", "cosine", "linear", "one_cycle"] = "cosine"
        norm: NormMode = "train"

    @torch.no_grad()
    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Transpose the kernels."""
        for layer in convolutions(handle, "ct").values():
            weight = layer.weight
            if weight.requires_grad and weight.shape[-1] == weight.shape[-2]:
                weight.copy_(weight.transpose(-1, -2).clone())

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """Fine-tuning."""
        return retain_phase(self, data)
