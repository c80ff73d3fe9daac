"""Low-rank changes of linear and convolution weights: as trained parametrisations, and added row by row of a batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from ..handle import DiffusionHandle


class LowRank(nn.Module):
    """`W + strength · up down`, the change shaped like W; `up` starts at zero, `down` as linear layers do.

    A convolution's change is one whose first factor has the kernel and whose second is 1 x 1.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator):
        super().__init__()
        wide = weight[0].numel()
        rank = min(rank, len(weight), weight.shape[1])
        down = (torch.rand(rank, wide, generator=generator) * 2 - 1) / wide**0.5
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(len(weight), rank))
        self.strength = 1.0

    def change(self) -> Tensor:
        """up down, (out, everything else)."""
        return self.up @ self.down

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that the layer computes with."""
        return weight + self.strength * self.change().view_as(weight) if self.strength else weight


def attach(layers: Mapping[str, nn.Module], rank: int, seed: int) -> dict[str, LowRank]:
    """Give every layer a low-rank change of its weight; the adapters by layer."""
    generator, made = torch.Generator().manual_seed(seed), {}
    for name, layer in layers.items():
        assert isinstance(layer.weight, Tensor)
        made[name] = LowRank(layer.weight, rank, generator)
        parametrize.register_parametrization(layer, "weight", made[name])
    return made


def detach(layers: Mapping[str, nn.Module], *, fold: bool = False) -> None:
    """Take the changes off again; fold: the sum becomes the weight."""
    for layer in layers.values():
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=fold)


@contextmanager
def strength(adapters: Mapping[str, LowRank], value: float) -> Iterator[None]:
    """While open, the changes count `value` times."""
    before = {name: adapter.strength for name, adapter in adapters.items()}
    for adapter in adapters.values():
        adapter.strength = value
    try:
        yield
    finally:
        for name, adapter in adapters.items():
            adapter.strength = before[name]


def transformer_layers(handle: DiffusionHandle) -> dict[str, nn.Module]:
    """Linear and convolution layers inside the denoiser's transformer blocks (with their projections, in U-Nets)."""
    found: dict[str, nn.Module] = {}
    for name, module in handle.module.named_modules():
        if not name.startswith("denoiser."):
            continue
        inside = type(module).__name__ == "Transformer2DModel" or name.endswith("transformer_blocks")
        if inside:
            for path, layer in module.named_modules():
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    found[f"{name}.{path}"] = layer
    return found


Factors = Mapping[str, tuple[Tensor, Tensor]]  # layer -> up, down


@contextmanager
def added(module: nn.Module, changes: Sequence[tuple[Factors, Float[Tensor, " row"]]]) -> Iterator[None]:
    """While open, each layer's output has its change of every entry added, times that entry's strength of the row.

    The batch may hold the rows several times over (a b a b).
    """
    layers = dict(module.named_modules())
    with ExitStack() as stack:
        for factors, strengths in changes:
            for name, pair in factors.items():
                stack.callback(layers[name].register_forward_hook(_adding(pair, strengths)).remove)
        yield


def _adding(pair: tuple[Tensor, Tensor], strengths: Tensor) -> Any:
    up, down = pair

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        if isinstance(layer, nn.Conv2d):
            down_kernel = down.view(len(down), *layer.weight.shape[1:]).to(x)
            low = functional.conv2d(x, down_kernel, None, layer.stride, layer.padding, layer.dilation)  # type: ignore[arg-type]
            change = functional.conv2d(low, up[:, :, None, None].to(x))
        else:
            change = x @ down.to(x).mT @ up.to(x).mT
        rows = strengths.to(change).repeat(len(change) // len(strengths))
        return output + rows.view(-1, *[1] * (change.dim() - 1)) * change

    return hook
