"""Outputs of a frozen vision tower, computed once a picture and served to every later forward pass."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .families.base import Family, Picture

BATCH = 32  # pictures a pass through the tower


class FeatureCache:
    """Tower features by picture digest; emptied when a weight of the tower changes (torch counts in-place writes)."""

    def __init__(self, family: Family):
        self.family = family
        self.kept: dict[str, Tensor] = {}
        self.state: tuple[Any, ...] = ()

    def get(self, model: nn.Module, digests: Sequence[str], pictures: Sequence[Picture]) -> list[Tensor]:
        """Features of `pictures`, on the CPU, as the family keeps them."""
        tower = self.family.tower(model)
        state = tuple((id(p), p._version) for p in self.family.tower_parameters(model))
        if state != self.state:
            self.kept, self.state = {}, state
        missing = [i for i, digest in enumerate(digests) if digest not in self.kept]
        missing = list({digests[i]: i for i in missing}.values())
        modes = [(layer, layer.training) for layer in tower.modules()]
        tower.eval()
        # Not inference tensors: training reads them.
        with torch.inference_mode(False), torch.no_grad():
            for start in range(0, len(missing), BATCH):
                part = missing[start : start + BATCH]
                made = self.family.features(model, [pictures[i] for i in part])
                for i, features in zip(part, made, strict=True):
                    self.kept[digests[i]] = features.to("cpu", copy=True)
        for layer, training in modes:
            layer.training = training
        return [self.kept[digest] for digest in digests]


@contextmanager
def served(family: Family, model: nn.Module) -> Iterator[None]:
    """While open, the tower answers what it is given: kept features instead of pixels."""
    tower = family.tower(model)

    def forward(*args: Any, **kwargs: Any) -> Any:
        features = args[0] if args else kwargs["pixel_values"]
        return family.served(model, features)

    tower.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del tower.forward  # the class's own shows again


_OURS = {"labels", "target", "features", "pictured", "edit"}  # read by the handle, not by the model


def model_inputs(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the model's forward takes; kept features stand where pixels would."""
    inputs = {name: tensor for name, tensor in tensors.items() if name not in _OURS}
    if "features" in tensors:
        inputs["pixel_values"] = tensors["features"]
    return inputs
