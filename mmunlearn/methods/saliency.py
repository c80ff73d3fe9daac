"""Saliency unlearning (SalUn): random labels, on the weights alone that matter most for the forget set."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmunlearn import importance
from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.methods._relabelling import relabelling_phases
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step


class Saliency(GradientMethod):
    """Random-label training restricted to the `fraction` of weights with the largest |∇ nll(forget)| at θ₀.

    Update with SGD: `v ← μ v + M ⊙ (g + wd θ); θ ← θ − lr v`, so that neither momentum nor weight decay moves a
    weight outside the mask M (with AdamW, whose decay acts on weights, they are restored after the step). Weights of
    all layers are ranked together; the mask holds exactly int(fraction · n) of them. Source: vision.md 6.4 (SalUn
    repository, generate_mask.py and unlearn/RL.py; example lr .013, 10 epochs, batch 256). Norm mode: `norm`, batch
    statistics as published (they are buffers and no mask covers them); the mask is computed with stored statistics.
    Differs from the paper: nothing. Differs from the reference: the gradient is summed over examples, where the
    reference sums means of batches and so weighs the examples of a short last batch more. Releases of the reference
    before February 2026 let momentum and decay move weights outside the mask.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "Fan et al. 2024, SalUn"

    toy = {"batch_size": 12}

    class Config(GradientMethod.Config):
        """fraction: of the weights in the mask, 0..1; the other fields as in random_label."""

        optimiser: Optimiser = Optimiser(lr=0.013, momentum=0.9, weight_decay=5e-4)
        epochs: int = 10
        batch_size: int = 256
        fraction: float = Field(0.5, gt=0, le=1)
        labels: Literal["uniform", "wrong", "flip"] = "uniform"
        relabel: Literal["epoch", "fixed"] = "epoch"
        mode: Literal["sequential", "mixed"] = "sequential"

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """The mask and, for decoupled decay, θ₀."""
        gradient = importance.gradient_sum(handle, data["forget"], batch_size=self.config.batch_size)
        self._masks = top_fraction({name: g.abs() for name, g in gradient.items()}, self.config.fraction)
        self._start: dict[str, Tensor] = {}
        if self.config.optimiser.name == "adamw":
            self._start = {name: p.detach().clone() for name, p in handle.trainable()}

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """Random-label phases whose gradients and decay are masked."""
        options: dict[str, Any] = {"adjust": self._mask}
        if self.config.optimiser.name == "adamw":
            options["after_step"] = self._restore
        else:  # the decay is part of the masked gradient
            options["spec"] = self.config.optimiser.model_copy(update={"weight_decay": 0.0})
        return relabelling_phases(self, handle, data, run.seed, **options)

    @torch.no_grad()
    def _mask(self, parameters: Mapping[str, nn.Parameter], step: Step) -> None:
        decay = 0.0 if self.config.optimiser.name == "adamw" else self.config.optimiser.weight_decay
        for name, parameter in parameters.items():
            if parameter.grad is None:
                continue
            if decay:
                parameter.grad.add_(parameter, alpha=decay)
            parameter.grad.mul_(self._on(self._masks, name, parameter))

    @torch.no_grad()
    def _restore(self, handle: Handle, step: Step) -> None:
        for name, parameter in handle.trainable():
            keep = self._on(self._masks, name, parameter)
            parameter.copy_(torch.where(keep, parameter, self._on(self._start, name, parameter)))

    @staticmethod
    def _on(table: dict[str, Tensor], name: str, parameter: Tensor) -> Tensor:
        table[name] = table[name].to(parameter.device)
        return table[name]


def top_fraction(scores: Mapping[str, Tensor], fraction: float) -> dict[str, Tensor]:
    """Boolean masks of the int(fraction · n) largest scores over all tensors together; ties go to the first entries."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    k = int(fraction * flat.numel())
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    if k:
        threshold = flat.kthvalue(flat.numel() - k + 1).values
        chosen = flat > threshold
        ties = (flat == threshold).nonzero().flatten()
        chosen[ties[: k - int(chosen.sum())]] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score).clone() for (name, score), part in zip(scores.items(), parts, strict=True)}
