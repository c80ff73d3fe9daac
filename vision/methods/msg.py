"""MSG (masked small gradients): draw the convolution weights anew that matter least to the contrast of the two sets."""

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import nn

from mmunlearn.data import Split
from mmunlearn.importance import gradient_sum
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step
from mmunlearn.seeds import derive, generator

from ..handle import VisionHandle
from ._fine_tuning import convolutions, retain_phase


class Msg(GradientMethod):
    """g = ∇[CE(retain subset of size |D_f|) − CE(D_f)]; in every convolution the `reset_frac` weights of least |g| are
    drawn anew (Kaiming normal, fan out), then CE(retain) is minimised with the kept weights' gradients times `damping`.

    Source: vision.md 5.3 (NeurIPS 2023 challenge, second place, as in Deep Unlearn: .3, .1, 5 epochs of SGD .001,
    momentum .9, weight decay 5e-4, the rate times 1/3, 2/3, 1, 2/3, 1/3). The damping is on the convolutions' kept
    weights. Differs from Deep Unlearn's port, which also draws every convolution's bias anew: here biases stay.
    Norm mode: train. Multi-label: the task loss is the binary cross-entropy.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Deep Unlearn, arXiv 2410.01276 (MSG, NeurIPS 2023 unlearning challenge)"

    toy = {"batch_size": 12, "epochs": 5, "optimiser": {"lr": 0.005}}

    class Config(GradientMethod.Config):
        """damping: factor on gradients of convolution weights that were kept."""

        reset_frac: float = Field(0.3, ge=0, le=1)
        damping: float = 0.1
        optimiser: Optimiser = Optimiser(lr=1e-3, momentum=0.9, weight_decay=5e-4)
        epochs: int = 5

    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Find and draw anew the weights of least contrast."""
        forget, retain = data["forget"], data["retain"]
        order = generator(run.seed, "data", "msg").permutation(len(retain))[: len(forget)]
        kept = retain.subset(order)
        g_r, g_f = gradient_sum(handle, kept), gradient_sum(handle, forget)
        self._scale: dict[str, torch.Tensor] = {}
        for path, layer in convolutions(handle, "msg").items():
            name = f"{path}.weight"
            if name not in g_r:
                continue  # frozen by the user
            contrast = (g_r[name] / len(kept) - g_f[name] / len(forget)).abs().flatten()
            count = int(self.config.reset_frac * contrast.numel())
            chosen = torch.zeros_like(contrast, dtype=torch.bool)
            chosen[contrast.argsort(stable=True)[:count]] = True
            chosen = chosen.view_as(layer.weight)
            with torch.no_grad():
                layer.weight.copy_(
                    torch.where(chosen, _kaiming(layer, derive(run.seed, "init", "msg", path)), layer.weight)
                )
            self._scale[name] = torch.where(chosen, 1.0, self.config.damping)

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """Fine-tuning with a rate that rises and falls."""
        return retain_phase(self, data, adjust=self._damp, rate=_tent)

    def _damp(self, parameters: Mapping[str, nn.Parameter], step: Step) -> None:
        for name, scale in self._scale.items():
            gradient = parameters[name].grad
            if gradient is not None:
                gradient.mul_(scale.to(gradient))


def _tent(step: Step) -> float:
    """1/3, 2/3, 1, 2/3, 1/3 over five epochs; the same shape over any other number."""
    middle = (step.epochs + 1) / 2
    return 1 - abs(step.epoch + 1 - middle) / middle


def _kaiming(layer: nn.Conv2d, seed: int) -> torch.Tensor:
    fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
    draw = torch.Generator().manual_seed(seed)
    return (torch.randn(layer.weight.shape, generator=draw) * math.sqrt(2 / fan_out)).to(layer.weight)
