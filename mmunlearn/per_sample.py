"""Gradients of every example by itself, accumulated without a loop over examples.

Three ways to the same numbers, tried in this order: rules for known layers (one batched forward and backward; each
layer's weight gradients follow from its inputs and output gradients), torch.func.vmap over the whole network, a loop.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from mmunlearn.data import Example
from mmunlearn.handle import Batch, Handle, Scored

log = logging.getLogger(__name__)

T = TypeVar("T")
Rows = Callable[[Scored], Float[Tensor, "row batch"]]
Power = Literal["squared", "absolute"]
Way = Literal["auto", "layers", "vmap", "loop"]

_CHUNK_BYTES = 64 << 20  # largest block of per-example weight gradients held at once
_CACHE_BYTES = 1 << 20  # block that stays in a core's cache while it is squared and summed
_TRAFFIC = 80  # operations that writing and reading one number of a gradient costs, on a CPU core
_ROWS = 8  # rows whose gradients are held at once


class Unsupported(Exception):
    """This way does not fit the model; the next one is tried."""


def accumulate(
    handle: Handle, examples: Sequence[Example], rows: Rows, power: Power, *, batch_size: int = 64, way: Way = "auto"
) -> dict[str, Tensor]:
    """Σ over examples and rows of (∇θ row)² or |∇θ row|, for every trainable parameter, in evaluation mode.

    rows: from a record to differentiable numbers, one column an example, which may depend on that example alone.
    """
    total = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    ways = {"layers": _by_layers, "vmap": _by_vmap, "loop": _by_loop}
    choices = {name: partial(method, handle, rows=rows, power=power) for name, method in ways.items()}
    for part in in_batches(handle, examples, choices, batch_size=batch_size, way=way):
        for name, value in part.items():
            total[name] += value
    return total


def in_batches(
    handle: Handle, examples: Sequence[Example], ways: Mapping[str, Callable[[Batch], T]], *, batch_size: int, way: Way
) -> Iterator[T]:
    """What the first of `ways` that fits the model says about every batch, in evaluation mode; `way` names one."""
    module = handle.module
    training = module.training
    module.eval()
    order = list(ways) if way == "auto" else [way]
    try:
        for start in range(0, len(examples), batch_size):
            batch = handle.collate(examples[start : start + batch_size]).to(handle.device)
            while True:
                try:
                    found = ways[order[0]](batch)
                    break
                except (Unsupported, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
                    if len(order) == 1 or isinstance(error, torch.OutOfMemoryError):
                        raise
                    log.info("Per-example gradients by %s do not fit this model: %s", order.pop(0), error)
            yield found
    finally:
        module.train(training)


# ---- one example after another ---------------------------------------------------------------------------------------
def _by_loop(handle: Handle, batch: Batch, rows: Rows, power: Power) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    for _, gradients in one_by_one(handle, batch, rows):
        for name, gradient in gradients.items():
            total[name] += _powered(gradient, power)
    return total


def one_by_one(handle: Handle, batch: Batch, rows: Rows) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """(example, gradients by name) of every row of every example; unused parameters are absent."""
    names, parameters = zip(*handle.trainable(), strict=True)
    for i in range(len(batch)):
        values = rows(handle.score(_pick(batch, slice(i, i + 1))))[:, 0]
        for number, value in enumerate(values):
            last = number == len(values) - 1
            gradients = torch.autograd.grad(value, parameters, retain_graph=not last, allow_unused=True)
            yield i, {name: g for name, g in zip(names, gradients, strict=True) if g is not None}


def _pick(batch: Batch, part: slice) -> Batch:
    tensors = {name: tensor[part] for name, tensor in batch.tensors.items()}
    return replace(batch, ids=batch.ids[part], tensors=tensors, count=batch.count[part], keys=batch.keys[part])


def _powered(gradient: Tensor, power: Power) -> Tensor:
    return gradient.square() if power == "squared" else gradient.abs()


# ---- vmap over the whole network -------------------------------------------------------------------------------------
def _by_vmap(handle: Handle, batch: Batch, rows: Rows, power: Power) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    for block in in_blocks(handle, batch, rows):
        for name, gradients in block.items():
            total[name] += _powered(gradients, power).sum((0, 1))
    return total


def in_blocks(handle: Handle, batch: Batch, rows: Rows) -> Iterator[dict[str, Float[Tensor, "batch row ..."]]]:
    """Every example's gradients by name, for as many examples at once as fit, in the batch's order."""
    from torch.nn.utils.stateless import _reparametrize_module

    parameters = {name: p.detach() for name, p in handle.trainable()}

    def one(parameters: dict[str, Tensor], tensors: dict[str, Tensor], count: Tensor) -> Tensor:
        single = Batch(("",), {name: t.unsqueeze(0) for name, t in tensors.items()}, count.unsqueeze(0))
        with _reparametrize_module(handle.module, parameters):
            return rows(handle.score(single))[:, 0]

    with torch.no_grad():
        height = len(rows(handle.score(_pick(batch, slice(0, 1)))))
    size = sum(p.numel() * p.element_size() for p in parameters.values()) * height
    chunk = max(1, _CHUNK_BYTES // max(size, 1))
    jacobian = vmap(jacrev(one), in_dims=(None, 0, 0), chunk_size=chunk)
    for start in range(0, len(batch), chunk):
        part = _pick(batch, slice(start, start + chunk))
        yield jacobian(parameters, part.tensors, part.count)


# ---- rules for known layers ------------------------------------------------------------------------------------------
def _by_layers(handle: Handle, batch: Batch, rows: Rows, power: Power) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    for name, parameter, gradient in in_layers(handle, batch, rows):
        if isinstance(gradient, Factors):
            amount = _products(gradient.inputs, gradient.outputs, power)
        else:
            amount = _powered(gradient, power).sum((0, 1))
        total[name] += amount.view_as(parameter)
    return total


class Factors(NamedTuple):
    """Per-example gradients of a weight matrix, not multiplied out: row r of example b is outputs[r, b]ᵀ inputs[b]."""

    inputs: Float[Tensor, "batch position inner"]
    outputs: Float[Tensor, "row batch position outer"]


def in_layers(
    handle: Handle, batch: Batch, rows: Rows
) -> Iterator[tuple[str, nn.Parameter, Factors | Float[Tensor, "row batch ..."]]]:
    """(name, parameter, every example's gradient by it) for groups of rows, from one forward; Unsupported without it.

    The gradients lack a graph; a name comes once a group of rows.
    """
    wanted = {id(p): name for name, p in handle.trainable()}
    layers = [layer for layer in handle.module.modules() if any(id(p) in wanted for p in layer.parameters(False))]
    for layer in layers:
        _check(layer)
    seen: list[tuple[nn.Module, Tensor, int, Tensor]] = []

    def remember(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append((layer, inputs[0], inputs[0]._version, output))
        return output.clone()  # later operations may work in place

    hooks = [layer.register_forward_hook(remember) for layer in layers]
    try:
        values = rows(handle.score(batch))
    finally:
        for hook in hooks:
            hook.remove()
    called = [id(layer) for layer, *_ in seen]
    if len(set(called)) != len(called):
        raise Unsupported("a layer is used twice in one forward")
    if any(x.shape[0] != len(batch) or x._version != version for _, x, version, _ in seen):
        raise Unsupported("a layer's input is not kept example by example")
    outputs = [output for *_, output in seen]
    for start in range(0, len(values), _ROWS):
        group = values[start : start + _ROWS]
        gradients = [
            torch.autograd.grad(
                row.sum(), outputs, retain_graph=start + number < len(values) - 1, materialize_grads=True
            )
            for number, row in enumerate(group)
        ]
        for (layer, x, _, _), parts in zip(seen, zip(*gradients, strict=True), strict=True):
            for parameter, gradient in _rule(layer, x.detach(), torch.stack(parts)):
                if id(parameter) in wanted:
                    yield wanted[id(parameter)], parameter, gradient


def _check(layer: nn.Module) -> None:
    plain = isinstance(layer, (nn.Linear, nn.LayerNorm)) or (
        isinstance(layer, _BatchNorm) and layer.track_running_stats
    )
    convolution = (
        isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
    # A subclass may compute something else than its base.
    if not (plain or convolution) or not type(layer).__module__.startswith("torch.nn"):
        raise Unsupported(f"no rule for {type(layer).__name__}")


@torch.no_grad()
def _rule(layer: nn.Module, x: Tensor, g: Tensor) -> list[tuple[nn.Parameter, Factors | Tensor]]:
    """(parameter, gradients) of a layer. x: its inputs (example, …); g: gradients by its output (row, example, …)."""
    if isinstance(layer, nn.Linear):
        a = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
        g = g.flatten(2, -2) if g.dim() > 3 else g.unsqueeze(2)
        pairs: list[tuple[nn.Parameter, Factors | Tensor]] = [(layer.weight, Factors(a, g))]
        bias = g.sum(2)
    elif isinstance(layer, nn.Conv2d):
        g = g.flatten(3).transpose(2, 3)
        if layer.kernel_size == (1, 1) and layer.padding == (0, 0):
            a = x[:, :, :: layer.stride[0], :: layer.stride[1]].flatten(2).transpose(1, 2)
        else:
            assert not isinstance(layer.padding, str)  # _check has refused it
            a = functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride).transpose(1, 2)
        pairs = [(layer.weight, Factors(a, g))]
        bias = g.sum(2)
    else:
        if isinstance(layer, _BatchNorm):
            assert layer.running_mean is not None and layer.running_var is not None
            shape = [1, -1, *([1] * (x.dim() - 2))]
            centred = x - layer.running_mean.view(shape)
            normal = centred * torch.rsqrt(layer.running_var.view(shape) + layer.eps)
            others = tuple(range(3, x.dim() + 1))
        else:
            assert isinstance(layer, nn.LayerNorm)
            normal = functional.layer_norm(x, layer.normalized_shape, eps=layer.eps)
            others = tuple(range(2, x.dim() + 1 - len(layer.normalized_shape)))
        pairs = []
        if layer.weight is not None:
            scaled = g * normal
            pairs.append((layer.weight, scaled.sum(others) if others else scaled))
        bias = g.sum(others) if others else g
    if layer.bias is not None:
        pairs.append((layer.bias, bias))
    return pairs


def _products(
    a: Float[Tensor, "batch position inner"], g: Float[Tensor, "row batch position outer"], power: Power
) -> Float[Tensor, "outer inner"]:
    """Σ over rows and examples of (Σ over positions g ⊗ a) to the power."""
    rows, positions = g.shape[0], a.shape[1]
    if positions == 1:
        return _powered(g[:, :, 0], power).sum(0).T @ _powered(a[:, 0], power)
    if power == "squared" and positions * (positions + 1) <= rows * (2 * positions + _TRAFFIC):
        # (Σ_p g_p a_p)² = Σ_p g_p² a_p² + 2 Σ_{p<q} (g_p g_q)(a_p a_q): one matrix product, rows summed beforehand.
        p, q = torch.triu_indices(positions, positions, device=a.device)
        weight = torch.where(p == q, 1.0, 2.0).to(a.dtype)[:, None]
        total = a.new_zeros(g.shape[3], a.shape[2])
        step = max(1, _CHUNK_BYTES // (4 * len(p) * (a.shape[2] + (rows + 1) * g.shape[3])))
        for start in range(0, len(a), step):
            some, gradients = a[start : start + step], g[:, start : start + step]
            left = torch.einsum("rbpo,rbpo->bpo", gradients[:, :, p], gradients[:, :, q]) * weight
            total.addmm_(left.flatten(0, 1).T, (some[:, p] * some[:, q]).flatten(0, 1))
        return total.clamp_(min=0)
    total = a.new_zeros(g.shape[3], a.shape[2])
    step = max(1, _CACHE_BYTES // (4 * a.shape[2] * g.shape[3]))
    for row in g.transpose(2, 3):
        for start in range(0, len(a), step):
            each = torch.bmm(row[start : start + step], a[start : start + step])
            if power == "squared" and step == 1:
                total.addcmul_(each[0], each[0])
            else:
                total += (each.square_() if power == "squared" else each.abs_()).sum(0)
    return total
