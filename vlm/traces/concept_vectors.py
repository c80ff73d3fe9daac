"""ConceptVectors test: are the columns of `down_proj` that carry a concept still what they were before unlearning?

A concept vector is the column `dim` of `down_proj.weight` of one block of the language model. Compared are the original
and the unlearned model's columns: cosine, L2 distance, and the Jaccard index of the 200 vocabulary tokens that each
promotes most (largest entries of E v, E the output embedding). Source: arXiv 2406.11614; vlm_unlok_offside_med 4.6. The
published files name vectors of two text models; `find_vectors` (ours) looks for them in any model.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.seeds import generator

from .. import adapters
from ..handle import VlmHandle

TOP = 200
COLUMNS = "down_proj"
FIELDS = ("Concept", "Layer", "Dim")


class Vector(NamedTuple):
    """Where a concept lies: block of the language model and column of its down_proj. score: what `find_vectors` saw."""

    layer: int
    dim: int
    concept: str = ""
    score: float = 0.0


class Likeness(NamedTuple):
    """A concept vector before and after: cosine, L2 distance, Jaccard index of the tokens it promotes most."""

    cosine: float
    distance: float
    jaccard: float


def read_vectors(path: Path) -> list[Vector]:
    """The vectors of a ConceptVectors file: a JSON list of records with Concept, Layer and Dim.

    Raises UserError for a file that is none.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}).") from None
    if not isinstance(records, list) or not records:
        raise UserError(f"{path}: is no list of records. Give a ConceptVectors file (…_concepts_test.json).")
    found = []
    for number, record in enumerate(records):
        lacks = [name for name in FIELDS if not isinstance(record, Mapping) or name not in record]
        if lacks:
            raise UserError(f"{path}: record {number} has no {lacks[0]}. Needed: {', '.join(FIELDS)}.")
        place = (record["Layer"], record["Dim"])
        if not all(type(value) is int and value >= 0 for value in place):
            raise UserError(f"{path}: record {number} has Layer, Dim = {place}, which are no indices.")
        found.append(Vector(*place, concept=str(record["Concept"])))
    return found


def columns(handle: VlmHandle) -> list[nn.Linear]:
    """The down_proj of every block of the language model, in order. Raises UserError where it has none so named."""
    if adapters.is_adapted(handle.module):
        raise UserError("concept vectors are columns of plain weights; merge the adapters first (handle.merged()).")
    language = handle.family.language(handle.model)
    found = [layer for path, layer in language.named_modules() if path.endswith(COLUMNS)]
    if not found or not all(isinstance(layer, nn.Linear) for layer in found):
        raise UserError(f"the language model of this {handle.settings.name} has no linear layers called {COLUMNS}.")
    return found  # type: ignore[return-value]


def column(layers: Sequence[nn.Linear], vector: Vector) -> Float[Tensor, " width"]:
    """The vector itself. Raises UserError where the model has no such place."""
    if vector.layer >= len(layers) or vector.dim >= layers[vector.layer].in_features:
        raise UserError(
            f"{vector.concept or 'concept'}: layer {vector.layer}, dim {vector.dim} is not in a model of {len(layers)} "
            f"layers with {layers[0].in_features:,} columns. The file belongs to another model."
        )
    return layers[vector.layer].weight[:, vector.dim].detach().float()


def promoted(embedding: Float[Tensor, "vocab width"], vector: Float[Tensor, " width"], top: int = TOP) -> set[int]:
    """Ids of the tokens that the vector promotes most."""
    scores: Float[Tensor, " vocab"] = embedding.detach().float() @ vector
    best: Int[Tensor, " top"] = scores.topk(min(top, len(scores))).indices
    return set(best.tolist())


def likeness(original: VlmHandle, unlearned: VlmHandle, vectors: Sequence[Vector], top: int = TOP) -> list[Likeness]:
    """Each vector in both models. Raises UserError where they are models of different shape."""
    one, two = columns(original), columns(unlearned)
    if [layer.weight.shape for layer in one] != [layer.weight.shape for layer in two]:
        raise UserError("the two models have different shapes: compare a model with its own original.")
    embeddings = original.head()[0], unlearned.head()[0]
    found = []
    for vector in vectors:
        a, b = column(one, vector), column(two, vector)
        cosine = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
        tokens = promoted(embeddings[0], a, top), promoted(embeddings[1], b, top)
        jaccard = len(tokens[0] & tokens[1]) / len(tokens[0] | tokens[1])
        found.append(Likeness(cosine, float((a - b).norm()), jaccard))
    return found


def find_vectors(
    handle: VlmHandle, forget: Split, retain: Split, *, count: int = 10, batch_size: int = 16
) -> list[Vector]:
    """The columns whose removal would cost the forget set's answers most and the retain set's least, best first.

    For a column with activation a at a token, −a · ∂nll/∂a is to first order the loss that its removal adds; summed
    over tokens, averaged over examples, and the retain set's average taken off.
    """
    gained, lost = (_removal(handle, split, batch_size) for split in (forget, retain))
    scores = torch.stack(gained) - torch.stack(lost)
    best = scores.flatten().topk(min(count, scores.numel()))
    width = scores.shape[1]
    return [Vector(at // width, at % width, score=score)
            for at, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)]  # fmt: skip


def _removal(handle: VlmHandle, split: Split, batch_size: int) -> list[Float[Tensor, " column"]]:
    """Per layer and column: first-order estimate of the nats that an answer loses without that column."""
    layers = columns(handle)
    sums = [torch.zeros(layer.in_features, dtype=torch.float64, device=layer.weight.device) for layer in layers]
    examples = split.examples
    seen: dict[int, Tensor] = {}

    def watch(number: int):
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen[number] = inputs[0].detach().requires_grad_() if not inputs[0].requires_grad else inputs[0]
            return (seen[number],)

        return keep

    hooks = [layer.register_forward_pre_hook(watch(number)) for number, layer in enumerate(layers)]
    training = handle.module.training
    handle.module.eval()
    try:
        for start in range(0, len(examples), batch_size):
            batch = handle.collate(examples[start : start + batch_size]).to(handle.device)
            with torch.enable_grad():
                nll = handle.score(batch).nll.sum()
            gradients = torch.autograd.grad(nll, [seen[number] for number in range(len(layers))])
            for total, number, gradient in zip(sums, range(len(layers)), gradients, strict=True):
                total -= (seen[number].detach() * gradient).flatten(0, -2).sum(0)
    finally:
        for hook in hooks:
            hook.remove()
        handle.module.train(training)
    return [(total / len(examples)).float() for total in sums]


@contextmanager
def disturbed(handle: VlmHandle, vectors: Sequence[Vector], *, std: float = 0.1, seed: int = 0) -> Iterator[None]:
    """While open, Gaussian noise lies on the vectors; the weights come back bit by bit. Source: the paper's check that
    a vector carries its concept (noise of std 0.1 on the column)."""
    layers = columns(handle)
    kept = [column(layers, vector).to(layers[vector.layer].weight.dtype, copy=True) for vector in vectors]
    draw = generator(seed, "concept vectors")
    with torch.no_grad():
        for vector, before in zip(vectors, kept, strict=True):
            noise = torch.from_numpy(draw.standard_normal(len(before))).to(before)
            layers[vector.layer].weight[:, vector.dim] = before + std * noise
    try:
        yield
    finally:
        with torch.no_grad():
            for vector, before in zip(vectors, kept, strict=True):
                layers[vector.layer].weight[:, vector.dim] = before
