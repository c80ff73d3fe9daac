"""Names of the parameters that a method trains."""

from collections.abc import Collection
from typing import Literal

from torch import nn

from ..groups import matches
from ..handle import DiffusionHandle

Role = Literal["denoiser", "xattn", "xattn_kv", "noxattn", "selfattn"]


def trained_names(
    handle: DiffusionHandle, role: str, *, layers: bool = False, without: Collection[str] = ()
) -> frozenset[str]:
    """Parameters of a role that are not frozen. layers: of linear and convolution layers only. without: patterns of
    names to leave out."""
    free = {name for name, _ in handle.trainable()}
    chosen = {name for name, _ in handle.trainable(role) if name in free and not matches(name, without)}
    if layers:
        kinds = {name for name, layer in handle.module.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}
        chosen = {name for name in chosen if name.rpartition(".")[0] in kinds}
    return frozenset(chosen)
