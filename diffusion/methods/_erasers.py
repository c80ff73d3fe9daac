"""Erasers: small adapters behind cross-attention that take a concept out while a model predicts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.seeds import generator

from ..attention import CrossAttention
from ..guard import Guard

if TYPE_CHECKING:
    from ..handle import DiffusionHandle


class Eraser(nn.Module):
    """up(GELU(down(x))), zero at first. Shapes: (batch, cell, width) to the same."""

    def __init__(self, width: int, rank: int, seed: int, name: str):
        super().__init__()
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, width)
        draw, bound = generator(seed, "init", "receler", name), width**-0.5
        with torch.no_grad():
            for parameter in self.down.parameters():
                parameter.copy_(torch.from_numpy(draw.uniform(-bound, bound, tuple(parameter.shape))))
            for parameter in self.up.parameters():
                parameter.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """What is added to `x`."""
        return self.up(functional.gelu(self.down(x)))


def key_of(layer: CrossAttention) -> str:
    """A layer's name as a key of a ModuleDict."""
    return layer.name.replace(".", "/")


def new_erasers(handle: "DiffusionHandle", rank: int, seed: int) -> nn.ModuleDict:
    """An eraser for every cross-attention layer."""
    layers = handle.cross_attention()
    made = {key_of(layer): Eraser(layer.to_out.out_features, rank, seed, layer.name) for layer in layers}  # type: ignore[arg-type]
    return nn.ModuleDict(made).to(handle.device, next(handle.denoiser.parameters()).dtype)


@contextmanager
def erasing(
    handle: "DiffusionHandle", erasers: nn.ModuleDict, outputs: dict[str, Tensor] | None = None
) -> Iterator[None]:
    """While open, cross-attention layers answer with their eraser's output added; `outputs` keeps that, by key."""

    def hook_of(key: str) -> Any:
        def hook(_: nn.Module, __: Any, out: Any) -> Any:
            first = out[0] if isinstance(out, tuple) else out
            added = erasers[key](first)
            if outputs is not None:
                outputs[key] = added
            return (first + added, *out[1:]) if isinstance(out, tuple) else first + added

        return hook

    handles = [layer.module.register_forward_hook(hook_of(key_of(layer))) for layer in handle.cross_attention()]
    try:
        yield
    finally:
        for handle_ in handles:
            handle_.remove()


class ErasersGuard(Guard):
    """Erasers around unchanged weights."""

    method = "receler"

    def __init__(self, erasers: nn.ModuleDict):
        self.erasers = erasers.eval().requires_grad_(False)

    def facts(self) -> Mapping[str, Any]:
        """Rank, and the width of each layer by key."""
        kept = {key: eraser.up.out_features for key, eraser in self.erasers.items()}  # type: ignore[union-attr]
        first = next(iter(self.erasers.values()))
        return {"rank": first.down.out_features, "widths": kept}  # type: ignore[union-attr]

    def tensors(self) -> Mapping[str, Tensor]:
        """The erasers' weights."""
        return {name.replace(".", ":"): value for name, value in self.erasers.state_dict().items()}

    def hooks(self, handle: "DiffusionHandle", texts: Sequence[str]) -> AbstractContextManager[Any]:
        """The erasers act on every prompt."""
        self.erasers.to(handle.device)
        return erasing(handle, self.erasers)


def restored(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ErasersGuard:
    """The guard that gave these."""
    made = nn.ModuleDict({key: Eraser(width, facts["rank"], 0, key) for key, width in facts["widths"].items()})
    made.load_state_dict({name.replace(":", "."): value for name, value in tensors.items()})
    return ErasersGuard(made)


def concept_masks(
    maps: Mapping[str, Tensor], at: Sequence[slice], *, side: int, limit: float, height: int, width: int
) -> dict[str, Tensor]:
    """Cells of each layer that show the concept, booleans (batch, cell) by the layer's name.

    maps: probabilities (batch, head, query, token); at: the concept's tokens in each prompt. Mean over heads and
    tokens of the layers whose pictures have `side` cells a row (or the nearest number there is), over layers; scaled to
    0..1 a picture; at least `limit`; taken to other layers' sizes by the nearest cell. Latents: height x width.
    """
    sizes = {name: _cells(m.shape[2], height, width) for name, m in maps.items()}
    best = min({rows for rows, _ in sizes.values()}, key=lambda rows: (abs(rows - side), rows))
    chosen = [name for name, (rows, _) in sizes.items() if rows == best]
    each = [
        torch.stack([m[row, :, :, span].mean((0, 2)) for row, span in enumerate(at)])
        for m in (maps[name].float() for name in chosen)
    ]
    mean = torch.stack(each).mean(0)
    low, high = mean.amin(1, keepdim=True), mean.amax(1, keepdim=True)
    shown = ((mean - low) / (high - low).clamp(min=1e-12) >= limit).float().unflatten(1, sizes[chosen[0]])
    return {
        name: functional.interpolate(shown[:, None], size).flatten(1).bool() for name, size in sizes.items()
    }


def _cells(queries: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a layer's cells, in the latents' proportion."""
    rows = round((queries * height / width) ** 0.5)
    return rows, queries // rows
