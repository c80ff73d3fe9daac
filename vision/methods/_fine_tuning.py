"""What methods share that damage the network first and then fine-tune all of it on the retain set."""

from collections.abc import Mapping, Sequence

from torch import nn

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.methods.base import GradientMethod, Phase, Step, Term

from ..handle import VisionHandle


def retain_phase(method: GradientMethod, data: Mapping[str, Split], **options) -> Sequence[Phase]:
    """One phase of the task loss on the retain set."""
    return [method.simple_phase(_task_loss, {"retain": method.stream(data["retain"])}, "retain", **options)]


def _task_loss(handle: VisionHandle, batches, step: Step) -> dict[str, Term]:
    return {"ce": Term(handle.score(batches["retain"]).nll.sum(), "retain")}


def convolutions(handle: VisionHandle, who: str) -> dict[str, nn.Conv2d]:
    """The network's convolutions by path. Raises UserError when it has none."""
    found = {path: layer for path, layer in handle.module.named_modules() if isinstance(layer, nn.Conv2d)}
    if not found:
        raise UserError(f"{who} changes convolutions and this model has none. Choose a convolutional model.")
    return found
