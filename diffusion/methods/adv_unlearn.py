"""AdvUnlearn: train the text encoder to lose the concept, also behind a prefix that tries to bring it back."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch
from mmunlearn.methods.base import GradientMethod, Optimiser, Phase, Step, Term

from ..conditioning import Condition, Tokens
from ..handle import DiffusionHandle
from ._base_weights import without_graph
from ._draws import draws_of, normal
from ._partial_sampling import partial_samples, random_stops
from ._prompts import worded


class AdvUnlearn(GradientMethod):
    """Minimise over the text encoder θ
    MSE(ε(z, c_adv), ε(z, c*_∅) − η(ε(z, c*) − ε(z, c*_∅))) + w·MSE(ε(z_r, c_r), ε(z_r, c*_r)),
    starred conditions by the original encoder, the denoiser fixed; c_adv is the prompt behind `prefix` free embeddings
    found by `attack_steps` steps that minimise MSE(ε(z, c_adv), ε(z, c*)). The first `warm_up` steps do not attack.

    z, z_r: trajectories under guidance 3 with the current encoder, stopped at random; retained prompts come from split
    `anchor`. `attack`: "pgd" descends with Adam, "fast_at" with the gradient's sign first. `retaining`: "sum" is the
    loss above ("reg" in the repository, what its commands run); "turns" ("iter", its default) follows each step on the
    first term by `turns` steps of the same optimiser on the second, without w. Sources: Zhang et al. 2024
    (arXiv 2405.15234); diffusion sheet 2.9 (OPTML-Group/AdvUnlearn: 1,000 steps, Adam 1e-5, first 200 plain, 30 attack
    steps of 1e-3, prefix of one token, w 0.3, five retained prompts, random start). Differs from the paper: the latents
    of an attack come from a pool of `pool` stops of one trajectory, where the repository samples anew for each of its
    steps; z does not depend on the prefix. Positions are counted in tokens, which the repository counts in words. The
    table of token embeddings stays as it is, and only the first encoder of several is attacked and trained.
    """

    needs = frozenset({"concept", "anchor"})
    paper = "Zhang et al. 2024 (AdvUnlearn)"

    toy = {
        "steps": 6, "warm_up": 2, "batch_size": 2, "retain_batch": 2, "attack_steps": 3, "pool": 2, "walk_steps": 4,
        "attack_lr": 0.05, "optimiser": {"name": "sgd", "lr": 1.0},
    }  # fmt: skip

    class Config(GradientMethod.Config):
        """retain_weight: w; 0 reads no anchors. wording: of the concept's prompts. steps, warm_up: of those that erase;
        `turns` come on top."""

        eta: float = 1.0
        retaining: Literal["sum", "turns"] = "sum"
        turns: int = Field(1, ge=1)
        retain_weight: float = 0.3
        retain_batch: int = Field(5, ge=1)
        attack: Literal["pgd", "fast_at"] = "pgd"
        attack_steps: int = Field(30, ge=0)
        attack_lr: float = 1e-3
        prefix: int = Field(1, ge=1)
        warm_up: int = Field(200, ge=0)
        pool: int = Field(5, ge=1)
        walk_steps: int = Field(50, ge=2)
        guidance: float = 3.0
        wording: str = "{prompt}"
        optimiser: Optimiser = Optimiser(name="adam", lr=1e-5)
        steps: int = Field(1000, ge=1)
        batch_size: int = 1

    def prepare(self, handle: DiffusionHandle, data: Mapping[str, Split], run) -> None:  # type: ignore[override]
        """Open the text encoder for training; the original's conditions of every prompt."""
        encoder = handle.parts.encoders[0]
        if not hasattr(encoder.config, "vocab_size") or handle.family.name == "flux":
            raise UserError("method[adv_unlearn]: trains a CLIP text encoder whose states reach the denoiser.")
        self._split = worded(data["concept"], self.config.wording)
        texts = {example.id: example.prompt or "" for example in (*self._split, *data["anchor"])}
        self._original = {name: handle.encode([text]) for name, text in texts.items()}
        self._empty = handle.unconditional([""])
        self._texts = texts
        name = handle.family.encoders[0][0]
        self._before = {key: p.requires_grad for key, p in handle.module.named_parameters()}
        for key, parameter in handle.module.named_parameters():
            parameter.requires_grad_(key.startswith(f"{name}.") and "token_embedding" not in key)
        self._names = frozenset(key for key, p in handle.module.named_parameters() if p.requires_grad)

    def finish(self, handle, data: Mapping[str, Split], run):
        """The flags as they were."""
        for key, parameter in handle.module.named_parameters():
            parameter.requires_grad_(self._before[key])
        return handle

    def phases(self, handle, data: Mapping[str, Split], run) -> Sequence[Phase]:
        """One phase over the concept's prompts, with anchors beside them."""
        streams = {"concept": self.stream(self._split, augment=True)}
        if self.config.retain_weight:
            streams["anchor"] = self.stream(data["anchor"], augment=True, batch_size=self.config.retain_batch)
        steps = self.config.steps * self._period
        return [self.simple_phase(self._terms, streams, "concept", steps=steps, trainable=self._names)]

    @property
    def _period(self) -> int:
        """Steps from one that erases to the next."""
        c = self.config
        return 1 + c.turns if c.retaining == "turns" and c.retain_weight else 1

    def _terms(self, handle: DiffusionHandle, batches: Mapping[str, Batch], step: Step) -> dict[str, Term]:
        number, turn = divmod(step.index, self._period)
        if turn:
            return {"retain": Term(self._retained(handle, batches["anchor"], step), "anchor")}
        terms = {"erase": Term(self._erased(handle, batches["concept"], step, number), "concept")}
        if self.config.retain_weight and self._period == 1:
            retained = self._retained(handle, batches["anchor"], step)
            terms["retain"] = Term(retained, "anchor", self.config.retain_weight)
        return terms

    def _erased(self, handle: DiffusionHandle, concept: Batch, step: Step, number: int) -> Tensor:
        """Squared error of the first term, summed; `number` steps have erased before."""
        c = self.config
        attacking = number >= c.warm_up and c.attack_steps > 0
        x, t, draws = self._latents(handle, concept, step, 1 + (min(c.pool, c.walk_steps - 1) if attacking else 0))
        original = self._starred(handle, concept)
        empty = self._empty.to(handle.device).repeat(len(concept))
        with without_graph(handle):
            both = handle.predict(x[:, 0].repeat(2, 1, 1, 1), t[:, 0].repeat(2), original.cat(empty))
            named, plain = both.chunk(2)
            aim = plain - c.eta * (named - plain)
        if attacking:
            tokens = shifted(handle, [self._texts[name] for name in concept.ids], c.prefix)
            start = random_words(handle, draws, c.prefix)
            found = self._attack(handle, tokens, start, (x[:, 1:], t[:, 1:]), original)
            asked = prefixed(handle, tokens, found)
        else:
            asked = handle.condition(concept)
        made = handle.predict(x[:, 0], t[:, 0], asked)
        return (made.float() - aim.float()).square().sum()

    def _retained(self, handle: DiffusionHandle, anchor: Batch, step: Step) -> Tensor:
        """Squared error of the second term, summed."""
        x, t, _ = self._latents(handle, anchor, step, 1)
        with without_graph(handle):
            aim = handle.predict(x[:, 0], t[:, 0], self._starred(handle, anchor))
        made = handle.predict(x[:, 0], t[:, 0], handle.condition(anchor))
        return (made.float() - aim.float()).square().sum()

    def _starred(self, handle: DiffusionHandle, batch: Batch) -> Condition:
        first, *others = (self._original[name] for name in batch.ids)
        return first.cat(*others).to(handle.device)

    def _latents(
        self, handle: DiffusionHandle, batch: Batch, step: Step, stops: int
    ) -> tuple[Tensor, Tensor, list[np.random.Generator]]:
        """Stops of one trajectory a prompt, under the current encoder."""
        draws = draws_of(batch, step.seed, self.name())
        at = random_stops(draws, self.config.walk_steps, stops)
        noise = normal(draws, handle.latent_shape()).to(handle.device)
        with without_graph(handle):
            pair = (handle.condition(batch), handle.unconditional([""] * len(batch)))
            x, t = partial_samples(
                handle, noise, at, pair, steps=self.config.walk_steps, scale=self.config.guidance
            )
        return x, t, draws

    def _attack(
        self,
        handle: DiffusionHandle,
        tokens: Tokens,
        start: Tensor,
        pool: tuple[Tensor, Tensor],
        original: Condition,
    ) -> Float[Tensor, "batch prefix width"]:
        """Free embeddings with which the current model predicts what the original does at the prompt."""
        c, (x, t) = self.config, pool
        stops = x.shape[1]
        with without_graph(handle):
            rows = original.index([i for i in range(len(x)) for _ in range(stops)])
            aims = handle.predict(x.flatten(0, 1), t.flatten(), rows).view_as(x)

        def objective(embeddings: Tensor, number: int) -> Tensor:
            k = number % stops
            made = handle.predict(x[:, k], t[:, k], prefixed(handle, tokens, embeddings))
            # A row's own mean: rows do not see each other, so that batches do not matter.
            return (made.float() - aims[:, k].float()).square().flatten(1).mean(1).sum()

        return attack(objective, start, steps=c.attack_steps, lr=c.attack_lr, sign=c.attack == "fast_at")


def attack(objective, start: Tensor, *, steps: int, lr: float, sign: bool) -> Tensor:
    """`start` after `steps` Adam steps on objective(embeddings, number of the step)."""
    with torch.enable_grad():
        free = start.detach().clone().requires_grad_(True)
        optimiser = torch.optim.Adam([free], lr=lr)
        for number in range(steps):
            (gradient,) = torch.autograd.grad(objective(free, number), free)
            free.grad = gradient.sign() if sign else gradient
            optimiser.step()
    return free.detach()


def shifted(handle: DiffusionHandle, texts: Sequence[str], prefix: int) -> Tokens:
    """Tokens of the first encoder with `prefix` places after the start token, filled with the first real token."""
    tokens = handle.tokenise(texts)
    first = tokens.ids[0]
    length = first.shape[1]
    moved = torch.cat([first[:, :1], first[:, 1:2].repeat(1, prefix), first[:, 1:]], 1)[:, :length].clone()
    # A long prompt still ends.
    moved[:, -1] = torch.where((moved == handle.tokenizer.eos_token_id).any(1), moved[:, -1], first[:, -1])
    return replace(tokens, ids=(moved, *tokens.ids[1:]))


def prefixed(handle: DiffusionHandle, tokens: Tokens, free: Float[Tensor, "batch prefix width"]) -> Condition:
    """Condition of `shifted` tokens whose prefix has the embeddings `free`."""
    table = handle.parts.encoders[0].get_input_embeddings()  # type: ignore[operator]  # Tensor or Module
    words = table(tokens.ids[0].to(handle.device))
    n = free.shape[1]
    return handle.encode_tokens(tokens, torch.cat([words[:, :1], free.to(words), words[:, 1 + n :]], 1))


def random_words(
    handle: DiffusionHandle, draws: Sequence[np.random.Generator], prefix: int
) -> Float[Tensor, "batch prefix width"]:
    """Embeddings of words drawn from the vocabulary."""
    table = handle.parts.encoders[0].get_input_embeddings().weight  # type: ignore[operator]  # Tensor or Module
    ids = np.stack([draw.integers(0, table.shape[0], size=prefix) for draw in draws])
    return table[torch.from_numpy(ids).to(table.device)].detach()
