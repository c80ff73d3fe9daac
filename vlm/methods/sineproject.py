"""SineProject: the projector moves within a sine of a trained matrix, under any objective."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmunlearn import registry
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import Need
from mmunlearn.settings import plain

from ..handle import VlmHandle
from ._objective import ForgetRule, ObjectiveMethod


class Sineproject(ObjectiveMethod):
    """Train the projector's matrices as `W + sin(ΔW)`, W frozen and ΔW dense from zero, under the objective's rule.

    Biases of the projector and everything else (adapters, language model) train as they do without it. At the end the
    sum is folded in, so the result is an ordinary model. Source: vlm_fiu_mmu_safe 4.5 (second-hand on arXiv 2511.18444,
    with LoRA r 32 on the language model; the authors' code was not seen). Differs from the paper: ΔW
    starts at zero, so that the first step sees the original; notes on the paper say at random, without a scale. Every
    entry stays within ±1 of the original's.
    """

    needs = frozenset({Need.FORGET})
    paper = "SineProject (CVPR 2026, arXiv 2511.18444)"

    class Config(ObjectiveMethod.Config):
        """objective: a method of the engine (po, popd, gd, …), whose defaults the other fields take."""

        objective: str = "popd"

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The wrapped method's defaults."""
        name = given.get("objective", cls.Config.model_fields["objective"].default)
        theirs = plain(wrapped(str(name)).Config())
        return {key: value for key, value in theirs.items() if key in cls.Config.model_fields} | {"objective": name}

    def forget_rule(self) -> ForgetRule:
        """The wrapped method's rule."""
        return wrapped(self.config.objective).rule

    def required(self) -> frozenset[str]:
        """What the wrapped method needs under these settings."""
        return super().required() | wrapped(self.config.objective).needs

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """The original's records, then the projector's new form."""
        super().prepare(handle, data, run)
        self._layers = [layer for _, layer in projector_layers(handle)]
        for layer in self._layers:
            parametrize.register_parametrization(layer, "weight", SineDelta(layer.weight))
            layer.parametrizations.weight.original.requires_grad_(False)  # type: ignore[union-attr]

    def finish(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """The sum becomes the weight."""
        for layer in self._layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            layer.weight.requires_grad_(True)
        return handle


class SineDelta(nn.Module):
    """`W + sin(ΔW)` elementwise; ΔW has the shape of W and starts at zero."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.delta = nn.Parameter(torch.zeros_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer computes with."""
        return weight + torch.sin(self.delta)


def projector_layers(handle: Handle) -> list[tuple[str, nn.Linear]]:
    """The trained linear layers of the projector by path. Raises UserError where there is none."""
    assert isinstance(handle, VlmHandle)
    projector = handle.family.projector(handle.model)
    found = [
        (path, layer)
        for path, layer in projector.named_modules()
        if isinstance(layer, nn.Linear) and layer.weight.requires_grad
    ]
    if not found:
        raise UserError("sineproject: no linear layer of the projector is trained. Set model.projector to full.")
    return found


def wrapped(name: str) -> type[ObjectiveMethod]:
    """The method whose objective is meant. Raises UserError for a name that is none of the engine's."""
    cls = registry.load("methods", name, "vlm")
    if not issubclass(cls, ObjectiveMethod) or cls is Sineproject:
        known = sorted(
            component.name
            for component in registry.visible("methods", "vlm").values()
            if component.modality == "vlm" and _of_engine(component.load())
        )
        raise UserError(f"method[sineproject].objective: {name!r} is no objective. Choose: {', '.join(known)}.")
    return cls


def _of_engine(cls: type) -> bool:
    return issubclass(cls, ObjectiveMethod) and cls is not Sineproject
