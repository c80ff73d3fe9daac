"""ROCR: rank-one edits send the concept's tokens to where an unrelated concept's would go."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import EditMethod, Need
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings

from ..handle import VlmHandle
from ..name_tokens import inside, pieces
from ..traces.concept_vectors import columns


class Rocr(EditMethod):
    """Solve `(P (K Kᵀ + C) + λ I) X = P K Rᵀ` for each edited layer's down_proj and add Xᵀ to its weight.

    K: inputs of down_proj at the concept's tokens; R: (state that the anchor has at the last edited layer − the
    concept's own) / (layers left), measured anew before each layer; C: keys of the concepts edited before; P projects
    on the span of eigenvectors of the retain set's mean K Kᵀ with eigenvalues below `null_below`. Source: arXiv
    2506.07795, ORT repository at 38cc704; vlm_unlok_offside_med 4.7 (λ = 1; layers 4 to 6 of 32; eigenvalues from text
    of Wikipedia). Ours, for pictures: a concept named in the question (tag `subject`, or one of `names`) is taken at
    the name's last token and its anchor is `anchor` in its place, as in the source; a concept that only the picture
    shows is taken at the picture's tokens and its anchor is another picture of the retain set; P comes from the retain
    set.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "LLM Unlearning Should Be Form-Independent (arXiv 2506.07795)"
    touches = ("*.down_proj.*",)
    toy = {"layers": (0,), "null_below": 0.5, "ridge": 0.01}

    class Config(Settings):
        """layers: blocks to edit, by number (none: the eighth of the depth and the two after it, as 4 to 6 of 32).
        anchor: an unrelated name. ridge: λ. null_below: eigenvalues that count as zero. tokens: of the retain set that
        P is measured on."""

        layers: tuple[int, ...] = ()
        anchor: str = "Donald Trump"
        ridge: float = Field(1.0, gt=0)
        null_below: float = Field(0.02, gt=0)
        tokens: int = Field(20_000, ge=1)
        batch_size: int = Field(16, ge=1)

    def edit(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """One concept after the other; a concept is what one picture or one name stands for."""
        assert isinstance(handle, VlmHandle)
        every = columns(handle)
        chosen = self._layers(len(every))
        layers = [every[number] for number in chosen]
        pairs = list(concepts(handle, data["forget"], data["retain"], self.config.anchor, run.seed))
        spaces = [
            keep_space(keys, self.config.null_below)
            for keys in self._retained(handle, layers, data["retain"], run.seed)
        ]
        earlier = [layer.weight.new_zeros(layer.in_features, 0) for layer in layers]
        for concept, anchor in pairs:
            goal = states(handle, layers, anchor).after[-1]
            for index, layer in enumerate(layers):
                now = states(handle, layers, concept)
                rest = (goal - now.after[-1]) / (len(layers) - index)
                keys = now.keys[index].T
                with torch.no_grad():
                    layer.weight += update(keys, rest.T, earlier[index], spaces[index], self.config.ridge)
                earlier[index] = torch.cat([earlier[index], keys], dim=1)

    def _layers(self, depth: int) -> list[int]:
        chosen = list(self.config.layers)
        if not chosen:
            first = math.ceil(depth / 8)
            chosen = [number for number in range(first, first + 3) if number < depth - 1] or [0]
        wrong = [number for number in chosen if not 0 <= number < depth]
        if wrong:
            raise UserError(f"method[rocr].layers: {wrong[0]} is not a block of this model, which has {depth}.")
        return sorted(chosen)

    def _retained(
        self, handle: VlmHandle, layers: Sequence[nn.Linear], retain: Split, seed: int
    ) -> list[Float[Tensor, "token key"]]:
        """Inputs of every edited layer at tokens of the retain set, up to `tokens`, in an order of their own."""
        order = generator(seed, "rocr").permutation(len(retain))
        found: list[list[Tensor]] = [[] for _ in layers]
        size = 0
        for start in range(0, len(order), self.config.batch_size):
            batch = handle.collate([retain[int(i)] for i in order[start : start + self.config.batch_size]])
            with watched(layers) as seen, torch.no_grad():
                handle.hidden(batch.to(handle.device))
            real = batch.tensors["attention_mask"].bool().to(handle.device)
            for own, (keys, _) in zip(found, seen, strict=True):
                own.append(keys[real])
            size += int(real.sum())
            if size >= self.config.tokens:
                break
        return [torch.cat(own)[: self.config.tokens] for own in found]


class Place(NamedTuple):
    """An example and the positions, in its expanded tokens, that stand for the concept."""

    example: Example
    positions: tuple[int, ...]


class States(NamedTuple):
    """At a place, for every edited layer: inputs of down_proj (token, key) and the block's output (token, width)."""

    keys: list[Tensor]
    after: list[Tensor]


def concepts(handle: VlmHandle, forget: Split, retain: Split, anchor: str, seed: int) -> Iterator[tuple[Place, Place]]:
    """Each concept of the forget set once, with its anchor. Raises UserError where there is nothing to hold on to."""
    pictured = [example for example in retain if example.image is not None]
    seen: set[str] = set()
    for example in forget:
        name = subject(example)
        key = name.lower() if name else example.image.digest if example.image else ""
        if key in seen:
            continue
        seen.add(key)
        if name:
            other = replace(example, prompt=str(example.prompt).replace(name, anchor), tags={})
            yield Place(example, name_at(handle, example, name)), Place(other, name_at(handle, other, anchor))
        elif example.image is not None and pictured:
            drawn = int(generator(seed, "rocr", example.id).integers(len(pictured)))
            other = replace(pictured[drawn], prompt=example.prompt, target=example.target)
            yield Place(example, picture_at(handle, example)), Place(other, picture_at(handle, other))
        else:
            raise UserError(
                f"{example.id}: rocr finds no concept: its question holds no name of the tags subject or names, and "
                f"{'the retain set has no picture' if example.image else 'it has no picture'}."
            )


def subject(example: Example) -> str:
    """The concept's name in the question: the tag `subject`, else the longest of the tag `names`; "" for none."""
    names = [example.tags.get("subject", ""), *sorted(example.tags.get("names", "").split("\n"), key=len, reverse=True)]
    return next((name for name in names if name and name in str(example.prompt)), "")


def name_at(handle: VlmHandle, example: Example, name: str) -> tuple[int, ...]:
    """Position of the last token of `name` in the expanded question."""
    ids = handle.prompt_ids(example)
    marks = inside(pieces(ids, handle.tokenizer.decode), [name])
    return (max(i for i, mark in enumerate(marks) if mark),)


def picture_at(handle: VlmHandle, example: Example) -> tuple[int, ...]:
    """Positions of the picture's tokens in the expanded question."""
    picture = handle.picture(example)
    assert picture is not None
    ids, own = handle.prompt_ids(example), picture.ids
    start = next(i for i in range(len(ids)) if ids[i : i + len(own)] == own)
    return tuple(range(start, start + len(own)))


@contextmanager
def watched(layers: Sequence[nn.Linear]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """While open, every forward pass records the inputs and outputs of `layers`."""
    seen: list[tuple[Tensor, Tensor]] = [None] * len(layers)  # type: ignore[list-item]

    def keep(index: int):
        def take(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[index] = (inputs[0].detach(), output.detach())

        return take

    hooks = [layer.register_forward_hook(keep(index)) for index, layer in enumerate(layers)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def states(handle: VlmHandle, layers: Sequence[nn.Linear], place: Place) -> States:
    """Keys and block outputs at a place; what follows the place does not reach it."""
    blocks = block_of(handle, layers)
    outputs: list[Tensor] = [None] * len(blocks)  # type: ignore[list-item]

    def keep(index: int):
        def take(_: nn.Module, inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            outputs[index] = output[0] if isinstance(output, tuple) else output

        return take

    hooks = [block.register_forward_hook(keep(index)) for index, block in enumerate(blocks)]
    try:
        with watched(layers) as seen:
            handle.hidden(handle.collate([place.example]).to(handle.device))
    finally:
        for hook in hooks:
            hook.remove()
    at = list(place.positions)
    return States([keys[0, at] for keys, _ in seen], [output[0, at] for output in outputs])


def block_of(handle: VlmHandle, layers: Sequence[nn.Linear]) -> list[nn.Module]:
    """The decoder block that holds each down_proj."""
    language = handle.family.language(handle.model)
    paths = {id(module): path for path, module in language.named_modules()}
    return [language.get_submodule(paths[id(layer)].rpartition(".mlp.")[0]) for layer in layers]


def keep_space(keys: Float[Tensor, "token key"], below: float) -> Float[Tensor, "key rank"]:
    """Eigenvectors of the mean of k kᵀ with eigenvalues of at least `below`: what an edit must leave alone."""
    flat = keys.double()
    values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    return vectors[:, values >= below].to(keys.dtype)


def update(
    keys: Float[Tensor, "key n"],
    rest: Float[Tensor, "width n"],
    earlier: Float[Tensor, "key m"],
    kept: Float[Tensor, "key rank"],
    ridge: float,
) -> Float[Tensor, "width key"]:
    """Xᵀ of `(P (A Aᵀ) + λ I) X = P K Rᵀ` with A = [K, earlier], P = I − kept keptᵀ.

    Solved as X = P A (Aᵀ P A + λ I)⁻¹ [Rᵀ; 0], a system as large as there are keys, not as the layer is wide.
    """
    every = torch.cat([keys, earlier], dim=1).double()
    free = every - kept.double() @ (kept.double().T @ every)
    system = every.T @ free + ridge * torch.eye(every.shape[1], dtype=torch.float64, device=every.device)
    right = torch.cat([rest.double(), rest.new_zeros(rest.shape[0], earlier.shape[1]).double()], dim=1)
    return (free @ torch.linalg.solve(system, right.T)).T.to(keys.dtype)
