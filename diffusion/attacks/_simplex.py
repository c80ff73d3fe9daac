"""Projection of rows onto the probability simplex, and draws from them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

CLOSE = 1e-5  # at which the reference's bisection stops
MOST_PASSES = 100


def onto_simplex(u: Float[Tensor, "... word"]) -> Float[Tensor, "... word"]:
    """The nearest point of each row with entries >= 0 and sum 1, exactly (what sorting gives, without the sort).

    Newton's method on the threshold: the set of entries above it shrinks until it is the right one (Michelot 1986).
    """
    threshold = (u.sum(-1, keepdim=True) - 1) / u.shape[-1]
    inside = torch.full_like(threshold, u.shape[-1], dtype=torch.int64)
    for _ in range(MOST_PASSES):
        above = (u - threshold).clamp_(min=0)
        count = (above > 0).sum(-1, keepdim=True)
        threshold = threshold + (above.sum(-1, keepdim=True) - 1) / count
        if torch.equal(count, inside):
            break
        inside = count
    return (u - threshold).clamp_(min=0)


def by_bisection(u: Float[Tensor, "... word"]) -> Float[Tensor, "... word"]:
    """The reference's projection (diffusion sheet 2.3): its threshold is known to 1e-5, so that rows sum to 1 only
    about (0.967 was seen). All rows in one pass."""
    sums = u.clamp(0, 1).sum(-1, keepdim=True)
    low, high = u.amin(-1, keepdim=True) - 1, u.amax(-1, keepdim=True)
    middle = (low + high) / 2
    open_ = torch.ones_like(low, dtype=torch.bool)
    while True:
        open_ = open_ & ((high - low) > CLOSE)
        if not bool(open_.any()):
            break
        middle = torch.where(open_, (low + high) / 2, middle)
        excess = (u - middle).clamp(0, 1).sum(-1, keepdim=True) - 1
        high = torch.where(open_ & (excess < 0), middle, high)
        low = torch.where(open_ & (excess > 0), middle, low)
        open_ = open_ & (excess != 0)
    return torch.where((sums - 1).abs() <= CLOSE, u.clamp(0, 1), (u - middle).clamp(0, 1))


def drawn(u: Float[Tensor, "... word"], uniform: Float[Tensor, "..."]) -> Int[Tensor, "..."]:
    """An entry of each row, with the row's (not necessarily normalised) weights, by a uniform draw in [0, 1)."""
    steps = u.double().cumsum(-1)
    wanted = uniform.to(steps)[..., None] * steps[..., -1:]
    return torch.searchsorted(steps, wanted, right=True).squeeze(-1).clamp(max=u.shape[-1] - 1)
