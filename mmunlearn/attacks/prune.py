"""Prune: does removing the smallest weights bring the forgotten back?"""

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from mmunlearn.attacks._weight_tensors import weight_tensors
from mmunlearn.attacks.base import WeightAttack
from mmunlearn.data import Split
from mmunlearn.handle import Handle
from mmunlearn.settings import Settings


class Prune(WeightAttack):
    """Global magnitude pruning of weight tensors, one model a fraction; tensors of one dimension (biases, norms) and
    tables of embeddings stay, adapters are merged first.

    Source: objectives_and_seeds 8.8 names pruning by magnitude as a tampering attack and gives no list of fractions:
    the fractions are this project's. Pruning needs no data, so the attacker holds no split.
    """

    needs = ()
    paper = "Model Tampering Attacks Enable More Rigorous Evaluations (arXiv 2502.05209)"

    class Config(Settings):
        """fractions: shares of all weights that become zero, each counted on the unpruned model."""

        fractions: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)

    def tamper(self, handle: Handle, data: Mapping[str, Split], run) -> Iterator[tuple[str, Handle]]:
        """One pruned copy a fraction, in the order of the settings."""
        for fraction in self.config.fractions:
            copy = handle.copy().merged()
            prune_smallest(copy.module, fraction)
            yield f"{fraction:g} pruned", copy


@torch.no_grad()
def prune_smallest(module: nn.Module, fraction: float) -> int:
    """Zero the `round(fraction · n)` weights of least magnitude over all weight tensors, in place; returns that number.

    Equal magnitudes go in the order of the parameters and of their entries, so the number is exact.
    """
    weights = weight_tensors(module)
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must lie in 0..1, got {fraction}")
    count = round(fraction * sum(w.numel() for w in weights))
    if count == 0:
        return 0
    threshold = torch.cat([w.detach().abs().flatten().float() for w in weights]).kthvalue(count).values
    room = count - sum(int((w.detach().abs().float() < threshold).sum()) for w in weights)  # for ties at the threshold
    for weight in weights:
        flat = weight.detach().abs().float().flatten()
        ties = (flat == threshold).nonzero().flatten()[:room]
        room -= len(ties)
        gone = flat < threshold
        gone[ties] = True
        weight.masked_fill_(gone.view(weight.shape), 0.0)
    return count
