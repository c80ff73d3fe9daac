"""Losses that SalUn, EraseDiff and Scissorhands share: pictures of the concept learn to be a surrogate's."""

from collections.abc import Iterator, Mapping

from jaxtyping import Float
from torch import Tensor

from mmunlearn.data import Split
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Stream
from mmunlearn.order import batches_per_epoch

from ..handle import DiffusionHandle
from ._base_weights import without_graph
from ._prompts import surrogates


def relabel_loss(handle: DiffusionHandle, batch: Batch) -> Float[Tensor, ""]:
    """Σ (ε_θ(x_t, caption) − sg ε_θ(x_t, surrogate prompt))² over pictures and latent values."""
    clean, noise, t = handle.clean(batch), batch.tensors["noise"], batch.tensors["t"]
    x = handle.noised(clean, noise, t)
    with without_graph(handle):
        aim = handle.predict(x, t, handle.condition(batch, "target_"))
    made = handle.predict(x, t, handle.condition(batch))
    return (made.float() - aim.float()).square().sum()


def guided_loss(handle: DiffusionHandle, batch: Batch, scale: float) -> Float[Tensor, ""]:
    """Σ (target − ((1 + s)·ε_θ(x_t, caption) − s·ε_θ(x_t, ∅)))² over pictures and latent values."""
    clean, noise, t = handle.clean(batch), batch.tensors["noise"], batch.tensors["t"]
    x = handle.noised(clean, noise, t)
    empty = handle.unconditional([""] * len(batch))
    both = handle.predict(x.repeat(2, 1, 1, 1), t.repeat(2), empty.cat(handle.condition(batch)))
    low, high = both.float().chunk(2)
    made = (1 + scale) * high - scale * low
    return (made - handle.target(clean, noise, t).float()).square().sum()


def forget_batches(handle: DiffusionHandle, split: Split, size: int) -> Iterator[Batch]:
    """The split's pictures in evaluation views (each with a time and noise of its own), `size` at once."""
    for start in range(0, len(split), size):
        yield handle.collate(split[start : start + size]).to(handle.device)


def relabel_streams(
    method: GradientMethod, data: Mapping[str, Split], *, first_batch: bool = False
) -> tuple[dict[str, Stream], int]:
    """Streams forget (with surrogate prompts as targets) and retain, and the optimiser steps of all epochs.

    first_batch: the unshuffled first batch of both in every step, as the scripts behind UnlearnCanvas's rows read them.
    """
    c, parts = method.config, {name: data[name] for name in ("forget", "retain")}
    steps = c.epochs * batches_per_epoch(len(parts["forget"]), c.batch_size)
    change = surrogates(data["concept"])
    if first_batch:
        parts = {name: split.subset(range(min(c.batch_size, len(split)))) for name, split in parts.items()}
    return {
        "forget": method.stream(parts["forget"], relabel=change, shuffle=not first_batch),
        "retain": method.stream(parts["retain"], shuffle=not first_batch),
    }, steps
