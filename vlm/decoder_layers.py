"""The decoder's layers, and positions of a prompt: where embeddings and activations are changed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmunlearn.data import Example
from mmunlearn.errors import UserError

if TYPE_CHECKING:
    from .handle import VlmHandle

_PROBES = ("#", "~ ~")  # questions that share no token with a real one


def decoder_layers(handle: "VlmHandle") -> nn.ModuleList:
    """Layers of the language model in order. Raises UserError where the model has no list of them."""
    layers = getattr(handle.family.language(handle.model), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise UserError(f"{handle.settings.name}: its language model has no list of layers.")
    return layers


def question_span(handle: "VlmHandle", example: Example) -> tuple[int, int]:
    """First position of the question in the expanded prompt, and the first behind it, found by what stays when another
    question is asked."""
    ids = handle.prompt_ids(example)
    others = [handle.prompt_ids(replace(example, prompt=probe)) for probe in _PROBES]
    first = min(_shared(ids, other) for other in others)
    last = len(ids) - min(_shared(ids[first:][::-1], other[first:][::-1]) for other in others)
    return first, max(first, last)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@contextmanager
def embeddings_put(
    handle: "VlmHandle", at: Int[Tensor, "row place"], values: Float[Tensor, "place width"], positions: int
) -> Iterator[None]:
    """While open, the embeddings at the places `at` of every row are `values`, in passes over `positions` positions
    (later steps of a generation have one)."""
    rows = torch.arange(len(at), device=at.device)[:, None]

    def put(layer: nn.Module, args: Any, made: Tensor) -> Tensor | None:
        if made.shape[1] != positions:
            return None
        whole = made.clone()
        whole[rows, at] = values.to(made.device, made.dtype).expand(len(at), -1, -1)
        return whole

    with _hooked(handle.model.get_input_embeddings(), put):
        yield


@contextmanager
def activations_pushed(
    handle: "VlmHandle", layer: int, where: Bool[Tensor, "row position"], push: Float[Tensor, " width"]
) -> Iterator[None]:
    """While open, `push` is added to what leaves the decoder's `layer` wherever `where` says so, in passes over as many
    positions as it has."""

    def pushed(module: nn.Module, args: Any, made: Any) -> Any:
        states = made[0] if isinstance(made, tuple) else made
        if states.shape[1] != where.shape[1]:
            return None
        moved = states + where[..., None].to(states.device) * push.to(states.device, states.dtype)
        return (moved, *made[1:]) if isinstance(made, tuple) else moved

    with _hooked(decoder_layers(handle)[layer], pushed):
        yield


@contextmanager
def activations_seen(handle: "VlmHandle", layer: int) -> Iterator[list[Tensor]]:
    """While open, what leaves the decoder's `layer` is kept in the list, a pass each (row, position, width)."""
    seen: list[Tensor] = []

    def look(module: nn.Module, args: Any, made: Any) -> None:
        seen.append((made[0] if isinstance(made, tuple) else made).detach())

    with _hooked(decoder_layers(handle)[layer], look):
        yield seen


@contextmanager
def _hooked(layer: nn.Module, hook: Any) -> Iterator[None]:
    kept = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        kept.remove()
