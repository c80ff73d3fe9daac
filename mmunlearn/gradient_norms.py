"""Norm of every example's gradient over all trainable weights: a membership signal that costs a backward pass.

Small where the model has learnt the example. Source: Nasr, Shokri and Houmansadr 2019 (white-box membership inference);
TDDBench, ICLR 2025 (gradient norm). The gradients themselves are never held: a layer's squared norm follows from its
inputs and output gradients, ‖Σ_p g_p a_pᵀ‖² = Σ_pq (g_p·g_q)(a_p·a_q), or from one layer's matrices at a time.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.data import Example, Split
from mmunlearn.handle import Batch, Handle, Scored
from mmunlearn.per_sample import Way, in_batches, in_blocks, in_layers, norm_gradients, one_by_one
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
    wanted = {id(p) for _, p in handle.trainable()}
    total = torch.zeros(len(batch), dtype=torch.float64, device=handle.device)
    for layer, x, g in in_layers(handle, batch, _loss):
        for parameter, amount in _rule(layer, x, g):
            if id(parameter) in wanted:
                total += amount
    return total


@torch.no_grad()
def _rule(layer: nn.Module, x: Tensor, g: Tensor) -> Iterator[tuple[Any, Float[Tensor, " batch"]]]:
    """(parameter, squared norm of each example's gradient by it). x: inputs; g: gradients by the output, one row."""
    if isinstance(layer, nn.Linear):
        a, slopes = (t.flatten(1, -2) if t.dim() > 2 else t.unsqueeze(1) for t in (x, g[0]))
        yield layer.weight, _of_factors(a, slopes)
        bias = slopes.sum(1)
    elif isinstance(layer, nn.Conv2d):
        slopes = g[0].flatten(2).transpose(1, 2)
        step = max(1, _BLOCK_BYTES // (x.element_size() * slopes.shape[1] * layer.weight[0].numel()))
        yield layer.weight, torch.cat([
            _of_factors(_patches(layer, x[start : start + step]), slopes[start : start + step])
            for start in range(0, len(x), step)
        ])  # fmt: skip
        bias = slopes.sum(1)
    else:
        weight, bias = (part[0] for part in norm_gradients(layer, x, g))
        if layer.weight is not None:
            yield layer.weight, _squares(weight)
    if layer.bias is not None:
        yield layer.bias, _squares(bias)


def _patches(layer: nn.Conv2d, x: Tensor) -> Float[Tensor, "batch position inner"]:
    assert not isinstance(layer.padding, str)  # in_layers has refused it
    return functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride).transpose(1, 2)


def _of_factors(
    a: Float[Tensor, "batch position inner"], g: Float[Tensor, "batch position outer"]
) -> Float[Tensor, " batch"]:
    """‖Σ_p g_p a_pᵀ‖² of every example, by the cheaper of the two products."""
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
