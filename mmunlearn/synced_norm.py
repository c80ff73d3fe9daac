"""Batch statistics over all processes, on any device.

torch's SyncBatchNorm works on GPUs only; this mode intercepts `batch_norm` wherever a layer calls it, so one process
and several give the same statistics, gradients and running averages, on CPUs too.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SyncedNorm(TorchFunctionMode):
    """While active, training-mode batch norm uses the mean and variance of the global batch."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Replace functional.batch_norm in training mode; leave everything else alone."""
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
            defaults = {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5}
            given = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
            if given["training"]:
                return synced_batch_norm(**given)
        return func(*args, **kwargs)


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce with its gradient: what every process's loss says about the sum, summed."""

    @staticmethod
    def forward(_: Any, local: torch.Tensor) -> torch.Tensor:
        total = local.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def synced_batch_norm(
    input: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> torch.Tensor:
    """Batch norm of `input` (batch, channel, …) with statistics over all processes; differentiable through them."""
    kind = input.dtype
    if kind != torch.float64:
        input = input.float()  # under autocast too
    axes = [0, *range(2, input.dim())]
    channels = input.shape[1]
    shape = [1, channels, *([1] * (input.dim() - 2))]
    # Sums in double precision, as in torch's own kernel: otherwise rounding depends on how examples fall on processes.
    wide = torch.float64 if input.device.type != "mps" else input.dtype
    local = torch.cat([input.sum(axes, dtype=wide), input.new_tensor([input.numel() / channels], dtype=wide)])
    total = _SumOverProcesses.apply(local)
    n = total[-1]
    mean = total[:-1] / n
    centred = input - mean.to(input.dtype).view(shape)
    var = _SumOverProcesses.apply((centred**2).sum(axes, dtype=wide)) / n
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (n / (n - 1).clamp(min=1))).to(running_var.dtype), momentum)
    result = centred * torch.rsqrt(var + eps).to(input.dtype).view(shape)
    if weight is not None:
        result = result * weight.view(shape)
    if bias is not None:
        result = result + bias.view(shape)
    return result.to(kind)
