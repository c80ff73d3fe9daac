"""Norm of every example's gradient over all trainable weights: a membership signal that costs a backward pass.

Small where the model has learnt the example. Source: Nasr, Shokri and Houmansadr 2019 (white-box membership inference);
TDDBench, ICLR 2025 (gradient norm). The gradients themselves are never held: a layer's squared norm follows from its
inputs and output gradients, ‖Σ_p g_p a_pᵀ‖² = Σ_pq (g_p·g_q)(a_p·a_q), or from one layer's matrices at a time.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mmunlearn.data import Example, Split
from mmunlearn.handle import Batch, Handle, Scored
from mmunlearn.per_sample import Factors, Way, in_batches, in_blocks, in_layers, one_by_one
from mmunlearn.records import Rows, Shard, read_rows

_BLOCK_BYTES = 64 << 20  # largest block of products held at once


def gradient_norms(
    handle: Handle, examples: Sequence[Example], *, batch_size: int = 64, way: Way = "auto"
) -> Float[np.ndarray, " example"]:
    """‖∇θ nll‖₂ in nats an item, by all trainable weights, evaluation views in evaluation mode, float64.

    An example's items (labels, tokens) are averaged, as in the other signals. The result does not depend on
    `batch_size`, apart from rounding.
    """
    ways = {"layers": _by_layers, "vmap": _by_blocks, "loop": _by_loop}
    choices = {name: partial(method, handle) for name, method in ways.items()}
    squared = list(in_batches(handle, examples, choices, batch_size=batch_size, way=way))
    return torch.cat(squared).sqrt().cpu().numpy() if squared else np.empty(0)


def with_gradient_norms(rows: Rows, handle: Handle, split: Split, folder: Path, *, batch_size: int = 64) -> Rows:
    """`rows` of `split` with the column `grad_norm`; what `folder` holds already is not computed again."""
    found = {row["id"]: row["grad_norm"] for row in read_rows(folder)}
    wanted = set(rows.ids) - found.keys()
    missing = [example for example in split if example.id in wanted]
    if missing:
        norms = gradient_norms(handle, missing, batch_size=batch_size).tolist()
        fresh = {example.id: norm for example, norm in zip(missing, norms, strict=True)}
        Shard(folder).append({"id": key, "grad_norm": norm} for key, norm in fresh.items())
        found |= fresh
    return rows.with_column("grad_norm", np.asarray([found[key] for key in rows.ids], dtype=np.float64))


def _loss(scored: Scored) -> Float[Tensor, "1 batch"]:
    return (scored.nll / scored.count)[None]


def _by_layers(handle: Handle, batch: Batch) -> Float[Tensor, " batch"]:
    total = torch.zeros(len(batch), dtype=torch.float64, device=handle.device)
    for _, _, gradient in in_layers(handle, batch, _loss):
        total += _of_factors(gradient) if isinstance(gradient, Factors) else _squares(gradient[0])
    return total


def _of_factors(gradient: Factors) -> Float[Tensor, " batch"]:
    """‖Σ_p g_p a_pᵀ‖² of every example, by the cheaper of the two products."""
    a, g = gradient.inputs, gradient.outputs[0]
    positions, inner, outer = a.shape[1], a.shape[2], g.shape[2]
    if positions == 1:
        return _squares(a) * _squares(g)
    pairs = positions * (inner + outer) < inner * outer
    size = (2 * positions**2 if pairs else inner * outer) * a.element_size()
    step = max(1, _BLOCK_BYTES // size)
    parts = []
    for start in range(0, len(a), step):
        some, slopes = a[start : start + step], g[start : start + step]
        if pairs:
            product = (some @ some.transpose(1, 2)) * (slopes @ slopes.transpose(1, 2))
            parts.append(product.sum((1, 2), dtype=torch.float64).clamp_(min=0))
        else:
            parts.append(_squares(slopes.transpose(1, 2) @ some))
    return torch.cat(parts)


def _squares(gradient: Float[Tensor, "batch ..."]) -> Float[Tensor, " batch"]:
    return gradient.square().flatten(1).sum(1, dtype=torch.float64)


def _by_blocks(handle: Handle, batch: Batch) -> Float[Tensor, " batch"]:
    blocks = in_blocks(handle, batch, _loss)
    return torch.cat([torch.stack([_squares(g) for g in block.values()]).sum(0) for block in blocks])


def _by_loop(handle: Handle, batch: Batch) -> Float[Tensor, " batch"]:
    total = torch.zeros(len(batch), dtype=torch.float64, device=handle.device)
    for i, gradients in one_by_one(handle, batch, _loss):
        total[i] += sum(g.square().sum(dtype=torch.float64) for g in gradients.values())
    return total
