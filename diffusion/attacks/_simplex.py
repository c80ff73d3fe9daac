"""Projection of rows onto the probability simplex, and draws from them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

CLOSE = 1e-5  # at which the reference's bisection stops
MOST_PASSES = 100
RUN = 32  # entries of which one stands for all where a projection begins
IN_CACHE = 150_000  # numbers that three passes find again in a processor's cache
BLOCK = 256  # entries whose weights are added up before any is looked at


def onto_simplex(u: Float[Tensor, "... word"]) -> Float[Tensor, "... word"]:
    """The nearest point of each row with entries >= 0 and sum 1, exactly (what sorting gives, without the sort).

    Newton's method on the threshold: the set of entries above it shrinks until it is the right one (Michelot 1986). On
    a processor a few rows at a time, which stay in its cache from pass to pass.
    """
    if u.device.type != "cpu" or u.numel() <= IN_CACHE:
        return _onto_simplex(u)
    rows = u.reshape(-1, u.shape[-1])
    made = torch.empty_like(rows)
    some = max(1, IN_CACHE // u.shape[-1])
    for part, into in zip(rows.split(some), made.split(some), strict=True):
        into.copy_(_onto_simplex(part))
    return made.view(u.shape)


def _onto_simplex(u: Float[Tensor, "... word"]) -> Float[Tensor, "... word"]:
    threshold = _below(u)
    inside, above = torch.full_like(threshold, -1.0), torch.empty_like(u)
    for _ in range(MOST_PASSES):
        torch.sub(u, threshold, out=above).clamp_(min=0)
        excess = above.sum(-1, keepdim=True) - 1
        count = above.sign_().sum(-1, keepdim=True).clamp_(min=1)  # floats count exactly up to 2^24 words
        threshold = threshold + excess / count
        if torch.equal(count, inside):
            break
        inside = count
    return torch.sub(u, threshold, out=above).clamp_(min=0)


def _below(u: Float[Tensor, "... word"]) -> Float[Tensor, "... 1"]:
    """A threshold not above the right one: what projecting a part of each row needs, here the largest of every run. The
    large entries are nearly all among these, so that few passes over whole rows are left to do."""
    runs = u.shape[-1] // RUN
    part = u[..., : runs * RUN].unflatten(-1, (runs, RUN)).amax(-1) if runs else u
    ordered, _ = part.sort(-1, descending=True)
    places = torch.arange(1, ordered.shape[-1] + 1, device=u.device, dtype=u.dtype)
    return ((ordered.cumsum(-1) - 1) / places).amax(-1, keepdim=True)


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
    missing = -u.shape[-1] % BLOCK
    blocks = (functional.pad(u, (0, missing)) if missing else u).unflatten(-1, (-1, BLOCK))
    steps = blocks.sum(-1).double().cumsum(-1)  # a few hundred numbers add up well enough as they are
    wanted = uniform.to(steps)[..., None] * steps[..., -1:]
    block = torch.searchsorted(steps, wanted, right=True).clamp(max=steps.shape[-1] - 1)
    own = blocks.take_along_dim(block[..., None], -2).squeeze(-2).double()
    before = functional.pad(steps, (1, 0)).take_along_dim(block, -1)
    inside = torch.searchsorted(own.cumsum(-1), wanted - before, right=True).clamp(max=BLOCK - 1)
    return (block * BLOCK + inside).squeeze(-1).clamp(max=u.shape[-1] - 1)
