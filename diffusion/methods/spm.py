"""SPM: a rank-one membrane a concept, let through by how near a prompt is to the concept."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GradientMethod
from mmunlearn.phases import Optimiser, Phase, Step, Term
from mmunlearn.seeds import derive, generator

from ..conditioning import Condition
from ..guard import Guard
from ..handle import DiffusionHandle
from ..sampler import walk
from ._guarding import phrases
from ._low_rank import Factors, added, attach, detach, strength, transformer_layers

Transport = Literal["intended", "reference", "folded"]


class Spm(GradientMethod):
    """Train `W + b aᵀ` on all layers of the transformer blocks so that the concept is predicted as
    `ε(neutral) − g (ε(concept) − ε(neutral))`, and random text states as before (weight 1000).

    Latents come from the model itself: sampled with the membrane and guidance 3 up to a random one of 30 steps. Random
    states are Gaussian, as long as the concept's times 0.8 to 1.2, accepted with probability 1 − cosine. While sampling
    the membrane counts m times, m the greater of the cosine of prompt and phrase (all states as one vector) and the
    share of the phrase's tokens in the prompt. Source: arXiv 2312.16145; SPM repository at 3dd762e (train_spm.py,
    infer_spm.py). Differs from the paper: its code scales both factors by m and adds those of several concepts factor
    by factor, hence m² and products across concepts (`transport: reference`); `folded` adds the membrane to the
    weights. Plain Adam with decay instead of an eight-bit one; the picture size stays; rate: cosine without restarts.
    """

    needs = frozenset({"concept"})
    intent = "suppression"
    paper = "Lyu et al. 2024 (One-Dimensional Adapter / SPM, CVPR, arXiv 2312.16145)"
    toy = {
        "iterations": 6, "steps": 4, "anchors": 1, "optimiser": {"lr": 0.02}, "neutral": None, "anchor_weight": 10.0,
        "texts": "prompts", "batch_size": 2,
    }  # fmt: skip

    class Config(GradientMethod.Config):
        """iterations: optimiser steps. rank: of the membrane. erase_scale: g. neutral: what the concept is predicted
        as; None is its surrogate. steps, sample_scale: of the sampling that makes latents. anchors: random states an
        example. texts: train on the bare phrase or on the concept's prompts. transport: see the class."""

        optimiser: Optimiser = Optimiser(name="adamw", lr=1e-4, weight_decay=0.01)
        schedule: Literal["constant", "cosine", "linear", "one_cycle"] = "cosine"
        norm: Literal["train", "frozen", "eval"] = "eval"
        batch_size: int = Field(1, ge=1)
        iterations: int = Field(3000, ge=1)
        rank: int = Field(1, ge=1)
        erase_scale: float = 1.0
        neutral: str | None = ""
        steps: int = Field(30, ge=2)
        sample_scale: float = 3.0
        anchors: int = Field(4, ge=0)
        anchor_weight: float = Field(1000.0, ge=0)
        texts: Literal["phrase", "prompts"] = "phrase"
        transport: Transport = "intended"

    def prepare(self, handle: Handle, data: Mapping[str, Split], run) -> None:
        """Put the membrane on; nothing else is trained."""
        assert isinstance(handle, DiffusionHandle)
        if handle.guard is not None and not isinstance(handle.guard, Membranes):
            raise UserError(f"spm: the model already has a guard ({handle.guard.method}). Start from one without.")
        if handle.guard is not None and self.config.transport != handle.guard.transport:
            raise UserError(f"method[spm].transport: the model's membranes are {handle.guard.transport}; keep that.")
        self._phrases = phrases(data["concept"], self.name())
        self._trained = {name for name, p in handle.module.named_parameters() if p.requires_grad}
        handle.module.requires_grad_(False)
        self._layers = transformer_layers(handle)
        self._adapters = attach(self._layers, self.config.rank, derive(run.seed, "init", "spm"))

    def phases(self, handle: Handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the concept's texts."""
        split = Split("concept", Role.FORGET, tuple(self._texts(data["concept"])))
        streams = {"concept": self.stream(split)}
        steps = self.config.iterations
        epochs = -(-steps // max(1, -(-len(split) // self.config.batch_size)))
        return [self.simple_phase(self._terms, streams, "concept", steps=steps, epochs=epochs)]

    def _texts(self, concept: Split) -> list[Example]:
        if self.config.texts == "prompts":
            return list(concept)
        return [
            Example(id=f"spm/{phrase}", prompt=phrase, target=next(_surrogates(concept, phrase), ""))
            for phrase in self._phrases
        ]

    def _terms(self, handle: DiffusionHandle, batches, step: Step) -> dict[str, Term]:
        c, batch = self.config, batches["concept"]
        latents, t = self._latents(handle, batch, step)
        concept = handle.condition(batch)
        empty = handle.unconditional([c.neutral or ""] * len(batch.ids))
        neutral = empty if c.neutral is not None else handle.condition(batch, "target_")
        with torch.no_grad(), strength(self._adapters, 0.0):
            plain = handle.predict(latents, t, neutral)
            goal = plain - c.erase_scale * (handle.predict(latents, t, concept) - plain)
        error = (handle.predict(latents, t, concept) - goal).square().flatten(1).mean(1)
        terms = {"erase": Term(error.sum(), "concept.examples")}
        if c.anchors:
            rows = [self._anchors(concept.index([i]), int(batch.keys[i]), step) for i in range(len(batch.ids))]
            anchors = rows[0].cat(*rows[1:])
            seen = latents.repeat_interleave(c.anchors, 0)
            with torch.no_grad(), strength(self._adapters, 0.0):
                wanted = handle.predict(seen, t, anchors)
            apart = (handle.predict(seen, t, anchors) - wanted).square().flatten(1).mean(1)
            terms["anchor"] = Term(apart.sum() / c.anchors, "concept.examples", c.anchor_weight)
        return terms

    @torch.no_grad()
    def _latents(self, handle: DiffusionHandle, batch, step: Step) -> tuple[Tensor, Tensor]:
        """Latents that the model with its membrane has reached after a random number of steps, and their time."""
        c = self.config
        shape = handle.latent_shape()
        draws = [generator(step.seed, "sample", "spm", step.index, int(key)) for key in batch.keys]
        noise = torch.stack([torch.from_numpy(d.standard_normal(shape, dtype="float32")) for d in draws])
        noise = noise.to(handle.device)
        stop = 1 + int(generator(step.seed, "sample", "spm", step.index).integers(c.steps - 1))
        name = "flow" if handle.family.flow else "ddim"
        solver = handle.schedule.solver(name, c.steps, handle.family.picture_tokens(noise))
        pair = (handle.condition(batch), handle.unconditional([""] * len(batch.ids)))
        for i, t, latents in walk(handle, solver, noise, pair, c.sample_scale):
            if i == stop:
                return latents, t
        raise AssertionError("the walk ended before its last step")

    def _anchors(self, concept: Condition, key: int, step: Step) -> Condition:
        draw = generator(step.seed, "sample", "spm anchors", step.index, key)
        states = torch.stack([random_like(concept.states[0], draw) for _ in range(self.config.anchors)])
        if concept.pooled is None:
            return Condition(states)
        return Condition(states, torch.stack([random_like(concept.pooled[0], draw) for _ in range(len(states))]))

    def finish(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """The membrane leaves the weights and becomes the guard, or is folded into them."""
        assert isinstance(handle, DiffusionHandle)
        factors = {n: (a.up.detach().clone(), a.down.detach().clone()) for n, a in self._adapters.items()}
        detach(self._layers, fold=self.config.transport == "folded")
        for name, parameter in handle.module.named_parameters():
            parameter.requires_grad_(name in self._trained)
        if self.config.transport == "folded":
            return handle
        older = handle.guard.membranes if isinstance(handle.guard, Membranes) else []
        handle.guard = Membranes([*older, (tuple(self._phrases), factors)], self.config.transport)
        return handle


def _surrogates(concept: Split, phrase: str):
    return (e.tags["surrogate"] for e in concept if e.tags.get("phrase") == phrase and "surrogate" in e.tags)


def random_like(states: Tensor, draw: Any) -> Tensor:
    """A Gaussian direction of the whole block, 0.8 to 1.2 times as long as `states`, accepted with probability
    1 − cosine to it."""
    flat = states.double().cpu().flatten()
    while True:
        noise = torch.from_numpy(draw.standard_normal(flat.shape))
        noise = noise / noise.norm()
        if draw.random() < 1 - float(noise @ flat / flat.norm()):
            return (noise * flat.norm() * (0.8 + 0.4 * draw.random())).view(states.shape).to(states)


class Membranes(Guard):
    """Rank-one changes by concept, let through as far as a prompt is near the concept."""

    method: ClassVar[str] = "spm"

    def __init__(self, membranes: Sequence[tuple[tuple[str, ...], Factors]], transport: str):
        self.membranes, self.transport = list(membranes), transport

    def facts(self) -> Mapping[str, Any]:
        """Phrases of each membrane, and how it is let through."""
        return {"phrases": [list(words) for words, _ in self.membranes], "transport": self.transport}

    def tensors(self) -> Mapping[str, Tensor]:
        """<number>.<layer>.up and .down."""
        found: dict[str, Tensor] = {}
        for i, (_, factors) in enumerate(self.membranes):
            for name, (up, down) in factors.items():
                found |= {f"{i}.{name}.up": up, f"{i}.{name}.down": down}
        return found

    def permeabilities(self, handle: DiffusionHandle, texts: Sequence[str]) -> Tensor:
        """m of every membrane (row) for every prompt (column)."""
        return torch.stack([permeability(handle, texts, words) for words, _ in self.membranes])

    def hooks(self, handle: DiffusionHandle, texts: Sequence[str]) -> AbstractContextManager[Any]:
        """Membranes on both halves of the batch, each prompt's at its own strength."""
        m = self.permeabilities(handle, texts)
        return added(handle.module, transported([factors for _, factors in self.membranes], m, self.transport))


def permeability(handle: DiffusionHandle, texts: Sequence[str], words: Sequence[str]) -> Tensor:
    """Greatest over `words` of max(cosine of all states as one vector, share of the phrase's token ids in the text)."""
    tokens, concept = handle.tokenise(texts).ids[0], handle.tokenise(words).ids[0]
    special = set(handle.tokenizer.all_special_ids)
    a, b = handle.encode(texts).states.flatten(1).double(), handle.encode(words).states.flatten(1).double()
    near = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=-1).cpu()
    ours = [set(row) - special for row in tokens.tolist()]
    wanted = [set(row) - special for row in concept.tolist()]
    share = torch.tensor([[len(x & y) / max(len(y), 1) for y in wanted] for x in ours], dtype=torch.float64)
    return torch.maximum(near, share).max(1).values


def transported(membranes: Sequence[Factors], m: Tensor, transport: str) -> list[tuple[Factors, Tensor]]:
    """Changes with their strength a prompt. intended: Σ mᵢ bᵢ aᵢᵀ. reference: (Σ mᵢ bᵢ)(Σ mⱼ aⱼ)ᵀ."""
    if transport == "intended":
        return [(factors, m[i]) for i, factors in enumerate(membranes)]
    return [
        ({name: (ups[name][0], downs[name][1]) for name in ups}, m[i] * m[j])
        for i, ups in enumerate(membranes)
        for j, downs in enumerate(membranes)
    ]


def restore(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Membranes:
    """The guard that `facts` and `tensors` describe."""
    membranes = []
    for i, words in enumerate(facts["phrases"]):
        mine = [n for n in tensors if n.startswith(f"{i}.") and n.endswith(".up")]
        names = [n.removeprefix(f"{i}.").removesuffix(".up") for n in mine]
        factors = {name: (tensors[f"{i}.{name}.up"], tensors[f"{i}.{name}.down"]) for name in names}
        membranes.append((tuple(words), factors))
    return Membranes(membranes, str(facts["transport"]))
