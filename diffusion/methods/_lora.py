"""Low-rank changes of linear layers that can be switched off, and folded into the weights at the end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmunlearn.seeds import generator


class LowRank(nn.Module):
    """W + scale·up·down as a parametrisation; `up` starts at zero, `down` at N(0, 1/rank²)."""

    def __init__(self, weight: Tensor, rank: int, seed: int, name: str, scale: float = 1.0):
        super().__init__()
        rows, columns = weight.shape
        drawn = generator(seed, "init", "lora", name).standard_normal((rank, columns)) / rank
        self.down = nn.Parameter(torch.from_numpy(drawn).to(weight))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.scale, self.on = scale, True

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight; the weight itself while switched off."""
        return weight + self.scale * self.up @ self.down if self.on else weight


def attach(layers: Mapping[str, nn.Linear], rank: int, seed: int) -> dict[str, LowRank]:
    """Put a low-rank change on each layer's weight."""
    changes = {}
    for name, layer in layers.items():
        changes[name] = LowRank(layer.weight.detach(), rank, seed, name)
        parametrize.register_parametrization(layer, "weight", changes[name])
    return changes


def fold(layers: Mapping[str, nn.Linear]) -> None:
    """Make the changed weights the layers' own."""
    for layer in layers.values():
        free = layer.parametrizations.weight.original.requires_grad  # type: ignore[union-attr]
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        layer.weight.requires_grad_(free)


@contextmanager
def switched_off(changes: Mapping[str, LowRank]) -> Iterator[None]:
    """While open, the layers are the original's."""
    for change in changes.values():
        change.on = False
    try:
        yield
    finally:
        for change in changes.values():
            change.on = True
