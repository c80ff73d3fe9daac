"""Gradients of every example by itself, accumulated without a loop over examples.

Three ways to the same numbers, tried in this order: rules for known layers (one batched forward and backward; each
layer's weight gradients follow from its inputs and output gradients), torch.func.vmap over the whole network, a loop.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
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
_BLOCK_BYTES = 8 << 20  # largest temporary of a rule: small enough that malloc reuses it instead of mapping new pages
_CACHE_BYTES = 512 << 10  # block of one gradient that stays in a core's cache while it is squared and summed
_TRAFFIC = 16  # multiplications that writing, squaring and adding one number of a gradient costs, on a CPU core
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
    return {name: value.clamp_(min=0) for name, value in total.items()}  # sums of products round below nothing


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
    wanted = {id(p): name for name, p in handle.trainable()}
    total = {name: torch.zeros_like(p) for name, p in handle.trainable()}
    for layer, x, g in in_layers(handle, batch, rows):
        for parameter, amount in _rule(layer, x, g, power):
            if id(parameter) in wanted:
                total[wanted[id(parameter)]] += amount.view_as(parameter)
    return total


def in_layers(handle: Handle, batch: Batch, rows: Rows) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    """(layer, its inputs (example, …), gradients by its output (row, example, …)) for groups of rows, from one forward.

    Only layers with a rule, each used once: else Unsupported, before anything is given out. Rows that do not depend on
    the layer are left out. No graph is recorded.
    """
    wanted = {id(p): name for name, p in handle.trainable()}
    layers = [layer for layer in handle.module.modules() if any(id(p) in wanted for p in layer.parameters(False))]
    for layer in layers:
        _check(layer)
    seen: list[tuple[nn.Module, Tensor, int, GradientEdge]] = []

    def remember(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        # The edge stays that of the layer when later operations work in place on its output, unless that is a view.
        seen.append((layer, inputs[0], inputs[0]._version, get_gradient_edge(output)))
        return output.clone() if output._is_view() else output

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
    edges = [edge for *_, edge in seen]
    for start in range(0, len(values), _ROWS):
        group = values[start : start + _ROWS]
        gradients = [
            torch.autograd.grad(row.sum(), edges, retain_graph=start + number < len(values) - 1, allow_unused=True)
            for number, row in enumerate(group)
        ]
        for (layer, x, _, _), parts in zip(seen, zip(*gradients, strict=True), strict=True):
            there = [g for g in parts if g is not None]  # a row that does not depend on the layer adds nothing
            if there:
                yield layer, x.detach(), there[0].unsqueeze(0) if len(there) == 1 else torch.stack(there)


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
def _rule(layer: nn.Module, x: Tensor, g: Tensor, power: Power) -> list[tuple[Tensor, Tensor]]:
    """(parameter, amount) pairs of one layer. x: inputs (example, …); g: gradients of its output (row, example, …)."""
    if isinstance(layer, nn.Linear):
        a = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
        g = g.flatten(2, -2) if g.dim() > 3 else g.unsqueeze(2)
        total = a.new_zeros(layer.weight.shape)
        _add_products(total, a, g, power)
        pairs = [(layer.weight, total)]
        bias = g.sum(2)
    elif isinstance(layer, nn.Conv2d):
        g = g.permute(0, 1, 3, 4, 2).flatten(2, 3)
        pairs = [(layer.weight, _convolution(layer, x, g, power))]
        bias = g.sum(2) if layer.bias is not None else g
    else:
        scaled, bias = norm_gradients(layer, x, g)
        pairs = [] if layer.weight is None else [(layer.weight, _powered(scaled, power).sum((0, 1)))]  # type: ignore[list-item]
    if layer.bias is not None:
        pairs.append((layer.bias, _powered(bias, power).sum((0, 1))))  # type: ignore[arg-type]  # a module's attribute
    return pairs


def _convolution(
    layer: nn.Conv2d,
    x: Float[Tensor, "batch inner high wide"],
    g: Float[Tensor, "row batch position outer"],
    power: Power,
) -> Float[Tensor, "outer inner kernel_high kernel_wide"]:
    """A few examples' patches at a time, channels last: rows of a kernel are then copied whole."""
    assert not isinstance(layer.padding, str)  # _check has refused it
    (high, wide), (top, left), (down, right) = layer.kernel_size, layer.padding, layer.stride
    inner = layer.in_channels
    pixels = functional.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, top, top)).contiguous()
    out_high = (pixels.shape[1] - layer.dilation[0] * (high - 1) - 1) // down + 1
    out_wide = (pixels.shape[2] - layer.dilation[1] * (wide - 1) - 1) // right + 1
    example, line, pixel, _ = pixels.stride()
    strides = (example, down * line, right * pixel, layer.dilation[0] * line, layer.dilation[1] * pixel, 1)
    patches = pixels.as_strided((len(x), out_high, out_wide, high, wide, inner), strides)
    total = x.new_zeros(layer.out_channels, high * wide * inner)
    step = max(1, _BLOCK_BYTES // (x.element_size() * out_high * out_wide * total.shape[1]))
    for start in range(0, len(x), step):
        some = patches[start : start + step].reshape(-1, out_high * out_wide, total.shape[1])
        _add_products(total, some, g[:, start : start + step], power)
    return total.view(-1, high, wide, inner).permute(0, 3, 1, 2)


def norm_gradients(layer: Any, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients (row, example, …) of weight and bias of a batch or layer norm with stored statistics."""
    shape = [1, -1, *([1] * (x.dim() - 2))]
    over = range(3, x.dim() + 1) if isinstance(layer, _BatchNorm) else range(2, g.dim() - len(layer.normalized_shape))
    others = tuple(over)
    scaled, plain = [], []
    step = max(1, _BLOCK_BYTES // (x.element_size() * max(x[:1].numel(), 1)))
    for start in range(0, len(x), step):
        some, gradient = x[start : start + step], g[:, start : start + step]
        if isinstance(layer, _BatchNorm):
            assert layer.running_mean is not None and layer.running_var is not None
            normal = some - layer.running_mean.view(shape)
        else:
            normal = functional.layer_norm(some, layer.normalized_shape, eps=layer.eps)
        product = normal.mul_(gradient[0]).unsqueeze(0) if len(g) == 1 else gradient * normal
        scaled.append(product.sum(others) if others else product)
        plain.append(gradient.sum(others) if others else gradient)
    weight, bias = torch.cat(scaled, 1), torch.cat(plain, 1)
    if isinstance(layer, _BatchNorm):
        assert layer.running_var is not None
        weight = weight * torch.rsqrt(layer.running_var + layer.eps)
    return weight, bias


def _add_products(
    total: Float[Tensor, "outer inner"],
    a: Float[Tensor, "batch position inner"],
    g: Float[Tensor, "row batch position outer"],
    power: Power,
) -> None:
    """Add Σ over rows and examples of (Σ over positions g ⊗ a) to the power."""
    rows, positions = g.shape[0], a.shape[1]
    if positions == 1:
        total.addmm_(_powered(g[:, :, 0], power).sum(0).T, _powered(a[:, 0], power))
    elif power == "squared" and 3 * positions * (positions + 1) <= 2 * rows * (3 * _TRAFFIC + positions):
        step = max(1, _BLOCK_BYTES // (a.element_size() * positions * (positions + 1) // 2 * a.shape[2]))
        for start in range(0, len(a), step):
            _add_pairs(total, a[start : start + step], g[:, start : start + step])
    elif a.shape[2] * total.shape[0] * a.element_size() * 4 <= _CACHE_BYTES:
        step = _CACHE_BYTES // (a.element_size() * a.shape[2] * total.shape[0])
        for row in g.transpose(2, 3):
            for start in range(0, len(a), step):
                each = torch.bmm(row[start : start + step], a[start : start + step])
                total += (each.square_() if power == "squared" else each.abs_()).sum(0)
    else:
        height = max(1, _CACHE_BYTES // (a.element_size() * a.shape[2]))
        space = a.new_empty(min(height, len(total)), a.shape[2])
        turned = g.transpose(2, 3).contiguous() if g.stride(2) == 1 else g.transpose(2, 3)
        for top in range(0, len(total), height):
            block = total[top : top + height]
            each = space[: len(block)]
            for row in turned[:, :, top : top + height]:
                for gradient, inputs in zip(row, a, strict=True):
                    torch.mm(gradient, inputs, out=each)
                    if power == "squared":
                        block.addcmul_(each, each)
                    else:
                        block += each.abs_()


def _add_pairs(
    total: Float[Tensor, "outer inner"],
    a: Float[Tensor, "batch position inner"],
    g: Float[Tensor, "row batch position outer"],
) -> None:
    """(Σ_p g_p a_p)² = Σ_p g_p² a_p² + 2 Σ_{p<q} (g_p g_q)(a_p a_q): one matrix product, rows summed beforehand."""
    batch, positions, inner = a.shape
    pairs = positions * (positions + 1) // 2
    left, right = a.new_empty(batch, pairs, len(total)), a.new_empty(batch, pairs, inner)
    start = 0
    for p in range(positions):
        end = start + positions - p
        torch.mul(a[:, p : p + 1], a[:, p:], out=right[:, start:end])
        left[:, start:end] = (g[:, :, p : p + 1] * g[:, :, p:]).sum(0)
        left[:, start + 1 : end] *= 2
        start = end
    total.addmm_(left.flatten(0, 1).T, right.flatten(0, 1))
