"""Boundary expand: push the forget set into an extra shadow class, then remove that class."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.methods.base import GradientMethod, Need, Optimiser, Phase, Step, Term
from mmunlearn.seeds import derive

from ..handle import VisionHandle


class BoundaryExpand(GradientMethod):
    """Widen the head to K + 1 logits, minimise CE(x, K) on the forget set, drop the extra logit again.

    Source: Chen et al., CVPR 2023, and vision.md 6.10 (TY-LEE-KR/Boundary-Unlearning-Code: SGD lr 1e-5, momentum .9,
    10 epochs, train mode, all weights). The shadow row starts as a new linear layer's rows do.
    Differs from SALUN's port, which never drops the shadow logit. Norm mode: train.
    Multi-label: refused. K binary labels are no partition, so one more label moves no boundary of the others.
    """

    needs = frozenset({Need.FORGET})
    paper = "Chen et al. 2023 (boundary unlearning)"

    toy = {"batch_size": 12, "optimiser": {"lr": 0.01}}

    class Config(GradientMethod.Config):
        """The reference's recipe."""

        optimiser: Optimiser = Optimiser(lr=1e-5, momentum=0.9)
        epochs: int = 10

    def prepare(self, handle: VisionHandle, data: Mapping[str, Split], run) -> None:
        """Widen the head by one row drawn from the run's seed."""
        if handle.family != "categorical":
            raise UserError(
                "boundary_expand needs a softmax over classes; this model has independent labels.\n"
                "Use boundary_shrink, whose multi-label counterpart is defined."
            )
        self._path, old = _head(handle)
        self._classes = old.out_features
        draw = torch.Generator().manual_seed(derive(run.seed, "init", "boundary_expand"))
        bound = old.in_features**-0.5  # what nn.Linear's own initialisation draws from
        row = (2 * torch.rand(1, old.in_features, generator=draw) - 1) * bound
        shift = (2 * torch.rand(1, generator=draw) - 1) * bound
        bias = None if old.bias is None else torch.cat([old.bias.detach(), shift.to(old.bias)])
        _put(handle.module, self._path, _linear(torch.cat([old.weight.detach(), row.to(old.weight)]), bias))

    def phases(self, handle: VisionHandle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the forget set, whose target is the shadow class."""
        return [self.simple_phase(self._terms, {"forget": self.stream(data["forget"], relabel=self._shadow)}, "forget")]

    def _shadow(self, example: Example, epoch: int) -> Example:
        return example.with_target(self._classes)

    def _terms(self, handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
        return {"expand": Term(handle.score(batches["forget"]).nll.sum(), "forget")}

    def finish(self, handle: VisionHandle, data: Mapping[str, Split], run) -> VisionHandle:
        """Drop the shadow row."""
        wide = handle.module.get_submodule(self._path)
        assert isinstance(wide, nn.Linear)
        bias = None if wide.bias is None else wide.bias.detach()[: self._classes].clone()
        _put(handle.module, self._path, _linear(wide.weight.detach()[: self._classes].clone(), bias))
        return handle


def _head(handle: VisionHandle) -> tuple[str, nn.Linear]:
    for path, layer in handle.module.named_modules():
        if layer is handle.head() and isinstance(layer, nn.Linear):
            return path, layer
    raise UserError("boundary_expand needs a linear last layer; this model has none. Use boundary_shrink.")


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def _put(module: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    layer.train(module.training)
    setattr(module.get_submodule(parent), name, layer)
