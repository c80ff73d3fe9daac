"""CHIP: project what sets forgotten nodes apart from their siblings out of selected neurons; no training."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.methods.base import EditMethod, Need
from mmunlearn.seeds import generator
from mmunlearn.settings import Settings

from .. import adapters
from ..handle import VlmHandle
from ..hierarchy import Node, inside, node_of

LINEAR = ("gate_proj", "up_proj", "down_proj")
SMALLEST = 1e-8  # norm of a difference below which it gives no direction


class Chip(EditMethod):
    """`W[idx, :] ← (I − Q Qᵀ) W[idx, :]` for the gate, up and down projections of the last layers and the linear layers
    of a vision merger; biases stay.

    A question with its answer is passed through once; a layer's activation is `alpha · mean over picture tokens + (1 −
    alpha) · mean over the other tokens` of its output. idx: the `top_frac` of a layer's output neurons (rounded down,
    at least one) with the largest `mean|a| over forget questions − mean|a| over retain ones`. A direction is the unit
    vector from the mean activation of the siblings to that of a forgotten node, on idx: for every child of a target
    (siblings: the retained children of the target's parent's children), or for the target itself where it has none
    (siblings: retained nodes under the same parent); where there are none, all retained nodes of that depth. Q: the
    first right singular vectors of the stacked directions that hold `tau` of the squared singular values. The tree is
    the examples' tag `path`.

    Source: MedForget v2 (arXiv 2512.09867), fengli-wu/MedForget chip/chip.py at df0e78c (10 %, .95, .3, layers 22 to 27
    of 28, at most 500 questions a node). Differs from the reference: padding does not count (`padding: true`: it counts
    among the other tokens, so that results depend on the batch); a merger's activation is the mean over a picture's
    tokens (`merger: tokens`: every token is a sample); the questions of a large node are drawn by (seed, node), where
    the reference seeds by a hash that differs between processes; a question counts once in `mean|a|` (`counted: nodes`:
    once for the target and once more for its child, as the reference's lists of both depths hold it); a failing forward
    pass is an error, where the reference goes on without the question. The mean of a node's siblings is over all their
    questions.
    """

    needs = frozenset({Need.FORGET, Need.RETAIN})
    paper = "MedForget v2: Hierarchy-Aware Multimodal Unlearning for Medical AI (arXiv 2512.09867)"
    stochastic = False
    touches = ("*.gate_proj.weight", "*.up_proj.weight", "*.down_proj.weight", "*merger*.weight")
    toy = {"path": "identity", "top_frac": 0.5}

    class Config(Settings):
        """last_layers: so many of the language model's deepest blocks. level: depth of the targets (None: that of the
        highest forgotten node). path: the tag that holds a node's path. Others: see the class."""

        top_frac: float = Field(0.1, gt=0, le=1)
        tau: float = Field(0.95, gt=0, le=1)
        alpha: float = Field(0.3, ge=0, le=1)
        last_layers: int = Field(6, ge=1)
        level: int | None = Field(None, ge=1)
        path: str = "node"
        most: int = Field(500, ge=1)
        padding: bool = False
        merger: Literal["pictures", "tokens", "none"] = "pictures"
        counted: Literal["questions", "nodes"] = "questions"
        batch_size: int = Field(4, ge=1)

    def edit(self, handle: VlmHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Measure, choose, project, layer by layer."""
        if adapters.is_adapted(handle.module):
            raise UserError("chip projects the weights themselves. Remove model.lora.")
        parts = {name: data[name].examples for name in ("forget", "retain")}
        trees = {name: [node_of(e.tags, self.config.path) for e in part] for name, part in parts.items()}
        known = [node for node in trees["forget"] if node]
        if not known or not any(trees["retain"]):
            raise UserError(
                f"method[chip].path: no example has a tag {self.config.path!r} with the path of its node.\n"
                "CHIP needs a benchmark with a tree (medforget), or the name of the tag that holds it."
            )
        level = self.config.level or min(len(node) for node in known)
        layers = projected(handle, self.config.last_layers, mergers=self.config.merger != "none")
        picked = {name: self._drawn(nodes, level, run.seed) for name, nodes in trees.items()}
        sums = {name: measure(handle, [parts[name][i] for i in picked[name]], layers, self.config) for name in parts}
        nodes = {name: [trees[name][i] for i in picked[name]] for name in parts}
        for name, layer in layers.items():
            forget, retain = (Layer(sums[part][name], nodes[part]) for part in ("forget", "retain"))
            project(layer, *self._directions(forget, retain, level))

    def _drawn(self, nodes: Sequence[Node], level: int, seed: int) -> list[int]:
        """Which examples are measured: at most `most` below each node at the targets' depth and one deeper."""
        kept: set[int] = set()
        for depth in (level, level + 1):
            below: dict[Node, list[int]] = {}
            for i, node in enumerate(nodes):
                if len(node) >= depth:
                    below.setdefault(node[:depth], []).append(i)
            for node, own in below.items():
                draw = generator(seed, "chip", *node).permutation(len(own))[: self.config.most]
                kept |= {own[int(k)] for k in draw}
        return sorted(kept)

    def _directions(self, forget: "Layer", retain: "Layer", level: int) -> tuple[Tensor, Tensor]:
        """Chosen neurons, and the unit directions on them as rows."""
        deep = level + 1 if self.config.counted == "nodes" else None
        score = forget.absolute(deep) - retain.absolute(deep)
        count = max(1, int(self.config.top_frac * len(score) + 1e-9))  # .29 of 100 is 29, whatever its binary digits
        chosen = torch.sort(score, descending=True, stable=True).indices[:count].sort().values
        rows = []
        for node, siblings in pairs(forget.nodes, retain.nodes, level):
            difference = (forget.mean([node]) - retain.mean(siblings))[chosen]
            norm = difference.norm()
            if norm > SMALLEST:
                rows.append(difference / norm)
        directions = torch.stack(rows) if rows else score.new_zeros(0, count)
        return chosen, basis(directions, self.config.tau)


class Sums(NamedTuple):
    """What one layer gave for each example: the sum of its samples' activations, of their absolute values, and how many
    samples (one, unless a merger's tokens count each)."""

    plain: Float[Tensor, "example neuron"]
    absolute: Float[Tensor, "example neuron"]
    count: Float[Tensor, " example"]  # type: ignore[assignment]  # hides tuple.count


class Layer:
    """One layer's activations over the examples of a part, with the examples' nodes."""

    def __init__(self, sums: Sums, nodes: Sequence[Node]):
        self.sums, self.nodes = sums, nodes

    def mean(self, targets: Sequence[Node]) -> Float[Tensor, " neuron"]:
        """Mean activation over the questions below the targets."""
        inner = torch.tensor([any(inside(node, target) for target in targets) for node in self.nodes])
        return self.sums.plain[inner].sum(0) / self.sums.count[inner].sum()

    def absolute(self, deep: int | None = None) -> Float[Tensor, " neuron"]:
        """Mean absolute activation over all questions; those of nodes at depth `deep` and below count twice."""
        times = torch.tensor([1.0 if deep is None or len(node) < deep else 2.0 for node in self.nodes]).double()
        return (times[:, None] * self.sums.absolute).sum(0) / (times * self.sums.count).sum()


def pairs(forget: Sequence[Node], retain: Sequence[Node], level: int) -> Iterator[tuple[Node, list[Node]]]:
    """Each node that gives a direction, with the retained nodes that it is set apart from; in the order of the data."""

    def at(nodes: Sequence[Node], depth: int) -> list[Node]:
        return list(dict.fromkeys(node[:depth] for node in nodes if len(node) >= depth))

    for target in at(forget, level):
        children = [node for node in at(forget, level + 1) if inside(node, target)]
        depth = level + 1 if children else level
        everyone = at(retain, depth)
        siblings = [node for node in everyone if inside(node, target[:-1])] or everyone
        for node in children or [target]:
            if siblings:
                yield node, siblings


def basis(directions: Float[Tensor, "row neuron"], tau: float) -> Float[Tensor, "neuron rank"]:
    """The first right singular vectors that together hold `tau` of the squared singular values, as columns."""
    if not len(directions):
        return directions.T
    _, values, right = torch.linalg.svd(directions.double(), full_matrices=False)
    energy = values.square().cumsum(0)
    rank = min(int((energy < tau * energy[-1]).sum()) + 1, len(values))
    return right[:rank].T


@torch.no_grad()
def project(layer: nn.Linear, chosen: Tensor, columns: Float[Tensor, "neuron rank"]) -> None:
    """`W ← W − Q (Qᵀ W)` on the chosen rows, in double precision."""
    rows = layer.weight[chosen].double()
    columns = columns.to(rows)
    layer.weight[chosen] = (rows - columns @ (columns.T @ rows)).to(layer.weight.dtype)


def projected(handle: VlmHandle, last_layers: int, *, mergers: bool) -> dict[str, nn.Linear]:
    """The layers that are projected, by path: feed-forward ones of the last blocks, linear ones of a vision merger (a
    projector of another kind, LLaVA's, is left alone). Raises UserError where there are none."""
    language = handle.family.language(handle.model)
    linear = {p: m for p, m in language.named_modules() if isinstance(m, nn.Linear) and p.rpartition(".")[2] in LINEAR}
    blocks = sorted({_block(path) for path in linear})[-last_layers:]
    found = {f"language.{path}": layer for path, layer in linear.items() if _block(path) in blocks}
    if not found:
        raise UserError(f"chip: the language model has no layers called {', '.join(LINEAR)}.")
    for path in handle.family.projector_paths(handle.model) if mergers else ():
        if "merger" in path:
            inner = handle.model.get_submodule(path).named_modules()
            found |= {f"merger.{path}.{name}": m for name, m in inner if isinstance(m, nn.Linear)}
    return found


def _block(path: str) -> int:
    return next((int(word) for word in path.split(".") if word.isdigit()), 0)


@torch.no_grad()
def measure(
    handle: VlmHandle, examples: Sequence[Example], layers: Mapping[str, nn.Linear], config: Chip.Config
) -> dict[str, Sums]:
    """Sums of every layer, one row an example; one forward pass an example serves all nodes above it."""
    plain = copy.copy(handle)
    if any(name.startswith("merger.") for name in layers):  # kept features would leave the merger out
        plain.settings = handle.settings.model_copy(update={"features": False})
    place = handle.family.placeholder_id(handle.processor)
    gathered: dict[str, list[Sums]] = {name: [] for name in layers}
    outputs: dict[str, Tensor] = {}
    with _watched(layers, outputs):
        for start in range(0, len(examples), config.batch_size):
            batch = plain.collate(examples[start : start + config.batch_size]).to(handle.device)
            plain.hidden(batch)
            ids, mask = batch.tensors["input_ids"], batch.tensors["attention_mask"].bool()
            seen = ids == place
            other = ~seen if config.padding else ~seen & mask
            for name, output in outputs.items():
                if name.startswith("merger."):
                    gathered[name].append(_merged(output, seen.sum(1), each=config.merger == "tokens"))
                else:
                    gathered[name].append(_mixed(output, seen, other, config.alpha))
    return {name: Sums(*(torch.cat(part) for part in zip(*rows, strict=True))) for name, rows in gathered.items()}


def _mixed(output: Tensor, seen: Tensor, other: Tensor, alpha: float) -> Sums:
    """alpha · mean over picture tokens + (1 − alpha) · mean over the others; without a picture the others alone."""
    output = output.double()

    def mean(where: Tensor) -> Tensor:
        weight = where.double()[..., None]
        return (output * weight).sum(1) / weight.sum(1).clamp_min(1)

    pictured = seen.any(1)[:, None].double()
    share = alpha * pictured
    each = (share * mean(seen) + (1 - share) * mean(other)).cpu()
    return Sums(each, each.abs(), torch.ones(len(each), dtype=torch.float64))


def _merged(output: Tensor, tokens: Tensor, *, each: bool) -> Sums:
    """Rows of a merger's output, cut by the pictures' numbers of tokens."""
    parts = output.double().cpu().reshape(-1, output.shape[-1]).split(tokens.tolist())
    if each:
        sums = [Sums(p.sum(0), p.abs().sum(0), torch.tensor(float(len(p)))) for p in parts]
    else:
        means = [p.mean(0) if len(p) else p.new_zeros(p.shape[-1]) for p in parts]
        sums = [Sums(m, m.abs(), torch.tensor(float(len(p) > 0))) for m, p in zip(means, parts, strict=True)]
    return Sums(*(torch.stack(part).double() for part in zip(*sums, strict=True)))


@contextmanager
def _watched(layers: Mapping[str, nn.Linear], outputs: dict[str, Tensor]) -> Iterator[None]:
    def keep(name: str):
        def hook(layer: nn.Module, inputs: object, output: Tensor) -> None:
            outputs[name] = output.detach()

        return hook

    taken = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for one in taken:
            one.remove()
