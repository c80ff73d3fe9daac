"""The original model's predictions during unlearning, from copies of the trained tensors alone."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..handle import DiffusionHandle


class BaseWeights:
    """Copies of the tensors called `names`, which a method is about to train; everything else stays the original's."""

    def __init__(self, handle: DiffusionHandle, names: Collection[str]):
        self._parameters = {name: p for name, p in handle.module.named_parameters() if name in names}
        self._kept = {name: p.detach().clone() for name, p in self._parameters.items()}

    @contextmanager
    def inside(self, handle: DiffusionHandle) -> Iterator[None]:
        """While open, the handle predicts as the original, without a graph."""
        now: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            now[name] = parameter.data
            self._kept[name] = self._kept[name].to(parameter.device)
            parameter.data = self._kept[name]
        try:
            with without_graph(handle):
                yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = now[name]


@contextmanager
def without_graph(handle: DiffusionHandle) -> Iterator[None]:
    """No graph, and none of autocast's cached weights: they would outlive the block and lack a graph themselves."""
    kind = handle.device.type
    mixed = torch.is_autocast_enabled(kind)
    with (
        torch.no_grad(),
        torch.autocast(kind, dtype=torch.get_autocast_dtype(kind), enabled=mixed, cache_enabled=False),
    ):
        yield
