"""Quantise: does rounding the weights to few bits bring the forgotten back?"""

from collections.abc import Iterator, Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from mmunlearn.attacks._weight_tensors import weight_tensors
from mmunlearn.attacks.base import WeightAttack
from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.settings import Settings


class Quantise(WeightAttack):
    """Symmetric rounding of each output channel's weights to `bits`; the rounded values are stored as floats.

    Source: objectives_and_seeds 8.8 names quantisation (int8, int4) as a tampering attack; the grid is the usual
    symmetric one: scale = max|w| / (2^(bits−1) − 1) a channel, round to nearest (ties to even). Biases, norms and
    tables of embeddings stay, activations are not rounded; adapters are merged first.
    """

    needs = ()
    paper = "Model Tampering Attacks Enable More Rigorous Evaluations (arXiv 2502.05209)"

    class Config(Settings):
        """bits: one model each, in this order."""

        bits: tuple[int, ...] = Field((8, 4), min_length=1)

    def tamper(self, handle: Handle, data: Mapping[str, Split], run) -> Iterator[tuple[str, Handle]]:
        """One quantised copy a number of bits."""
        for bits in self.config.bits:
            copy = handle.copy().merged()
            quantise_weights(copy.module, bits)
            yield f"{bits} bits", copy


@torch.no_grad()
def quantise_weights(module: nn.Module, bits: int) -> None:
    """Round every weight tensor with more than one dimension to its channels' grids, in place."""
    transposed = {id(m.weight) for m in module.modules() if isinstance(m, _ConvTransposeNd) and m.groups == 1}
    for weight in weight_tensors(module):
        weight.copy_(quantised(weight, bits, channel_dim=1 if id(weight) in transposed else 0))


def quantised(weight: Tensor, bits: int, *, channel_dim: int = 0) -> Tensor:
    """`weight` rounded to 2^bits − 1 levels per slice of `channel_dim`, symmetric about zero, as floats."""
    if bits < 2:
        raise ValueError(f"bits must be at least 2, got {bits}")
    levels = 2 ** (bits - 1) - 1
    rows = weight.detach().float().movedim(channel_dim, 0)
    largest = rows.abs().flatten(1).amax(dim=1).view(-1, *[1] * (rows.ndim - 1))
    scale = torch.where(largest > 0, largest / levels, torch.ones_like(largest))
    return ((rows / scale).round().clamp(-levels, levels) * scale).movedim(0, channel_dim).to(weight.dtype)
