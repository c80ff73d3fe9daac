"""Double precision for audits: the same algorithm in float64, whatever a handle or an objective asks for.

Single precision makes runs on one and on several processes differ by rounding, which momentum and batch norm magnify
from step to step; in double precision what remains is so small that any other difference shows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Drawn in single precision, so that new weights and noise are those of a run in single precision.
_DRAWN_IN_PLACE = {torch.Tensor.uniform_, torch.Tensor.normal_}


class Doubled(TorchFunctionMode):
    """While active, whoever asks torch for float32 gets float64."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Replace the type in calls such as `to(torch.float32)`, `zeros(…, dtype=torch.float32)` and `float()`."""
        kwargs = kwargs or {}
        if func in _DRAWN_IN_PLACE or getattr(func, "__module__", "") == "torch.nn.init":
            return _drawn(func, args, kwargs)
        if func is torch.Tensor.float:
            return args[0].double()
        args = tuple(_double(a) for a in args)
        return func(*args, **{name: _double(value) for name, value in kwargs.items()})


def _drawn(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """An initialisation or a draw in place, made on a twin in single precision."""
    target = args[0] if args else kwargs["tensor"]
    if target.dtype != torch.float64:
        return func(*args, **kwargs)
    twin = target.detach().float()
    func(twin, *args[1:], **kwargs) if args else func(**(kwargs | {"tensor": twin}))
    with torch.no_grad():
        return target.copy_(twin)


def _double(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


@contextmanager
def working(module: nn.Module, precision: str) -> Iterator[None]:
    """With "double": `module` and all that is computed are float64 inside, and `module` is as before outside.

    Copies of the module that are made inside stay float64. Nested uses are harmless; other precisions do nothing here.
    """
    if precision != "double":
        yield
        return
    kinds = {name: tensor.dtype for name, tensor in _tensors(module)}
    default = torch.get_default_dtype()
    module.double()
    hook = module.register_forward_pre_hook(_match, with_kwargs=True)
    torch.set_default_dtype(torch.float64)
    try:
        with Doubled():
            yield
    finally:
        torch.set_default_dtype(default)
        hook.remove()
        for name, tensor in _tensors(module):
            tensor.data = tensor.data.to(kinds.get(name, default))


def doubled_inputs(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch's tensors with float64 in place of float32."""
    return {name: tensor.double() if tensor.dtype == torch.float32 else tensor for name, tensor in tensors.items()}


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            yield name, tensor


def _match(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Inputs that were made outside (from arrays, say) take the type of the weights."""
    kind = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)

    def same(value: Any) -> Any:
        return value.to(kind) if isinstance(value, Tensor) and value.is_floating_point() else value

    return tuple(same(a) for a in args), {name: same(value) for name, value in kwargs.items()}
