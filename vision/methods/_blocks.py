"""The last blocks of a classifier: which parameters they hold, and freezing the statistics of the others."""

from collections.abc import Collection

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmunlearn.errors import UserError

from ..handle import VisionHandle


def last_blocks(handle: VisionHandle, k: int, *, head: bool = True) -> frozenset[str]:
    """Names of the parameters in the last `k` blocks before the head and, if `head`, in the head.

    Raises UserError when the model has fewer blocks or nothing would be left to train.
    """
    *body, top = handle.blocks()
    if not 0 <= k <= len(body):
        names = ", ".join(name for name, _ in body)
        raise UserError(f"method.k: {k} is outside 0..{len(body)}; blocks of this model before its head: {names}.")
    chosen = [name for _, names in body[len(body) - k :] for name in names]
    if head:
        chosen += top[1]
    if not chosen:
        raise UserError("method.k: 0 without the head leaves nothing to train. Use k >= 1 or train the head.")
    return frozenset(chosen)


def owners(names: Collection[str]) -> frozenset[str]:
    """Paths of the layers that own the parameters `names`."""
    return frozenset(name.rpartition(".")[0] for name in names)


def keep_statistics(module: nn.Module, trained: Collection[str]) -> None:
    """Put every batch-norm layer that owns none of the parameters `trained` into evaluation mode."""
    paths = owners(trained)
    for path, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and path not in paths:
            layer.eval()
