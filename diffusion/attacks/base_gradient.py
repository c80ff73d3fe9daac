"""Prompt attacks that follow the gradient of a denoising error: what is varied, what is compared, at which times."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from mmunlearn.attacks.base import Access, Metered, OriginalPath
from mmunlearn.data import Example, ImageRef
from mmunlearn.errors import UserError
from mmunlearn.seeds import generator

from ..handle import DiffusionHandle
from ..prompt_batch import Criterion, Error, PromptBatch, errors, predicted_noise, weights_fixed
from ..prompt_tokens import FILLER, Coded
from ..schedule import STEPS
from ._original import open_original
from ._simplex import by_bisection, drawn, onto_simplex
from .base_prompts import Place, PromptAttack, PromptSettings, Walker

Order = Literal["ascending", "descending", "random", "each_step"]
Variable = Literal["tokens", "nearest", "free"]
AT_ONCE_WORDS = 64  # rows whose nearest word is looked for together


class GradientSettings(PromptSettings):
    """variable: "tokens" a distribution over the vocabulary a place, from which tokens are drawn; "nearest" embeddings
    that are read as the nearest word by cosine; "free" embeddings as they are. loss: "attacker" compares the prediction
    with the noise, "original" with what the original model predicts at the goal's prompt (`original`: its folder; none
    for the run's start). error: of the noise or of the model's own prediction (v, velocity).

    rounds: times t at which the search works, evenly spread, `steps` steps each; a picture is judged after each.
    order: of these times; "each_step" draws a time for every step. decoupled: AdamW's decay instead of L2 in the
    gradient. start: of a distribution. projection: "bisection" as the reference. repeat: restarts, each with all
    rounds. universal: one insertion for all goals of the run, whose gradients are averaged.
    """

    variable: Variable = "tokens"
    loss: Literal["attacker", "original"] = "attacker"
    error: Error = "noise"
    criterion: Criterion = "l2"
    rounds: int = Field(50, ge=1, le=STEPS)
    steps: int = Field(40, ge=1)
    order: Order = "ascending"
    lr: float = Field(0.01, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    decoupled: bool = False
    start: Literal["uniform", "random"] = "uniform"
    projection: Literal["exact", "bisection"] = "exact"
    repeat: int = Field(1, ge=1)
    universal: bool = False
    original: OriginalPath = ""


class GradientAttack(PromptAttack):
    """Minimises a denoising error over inserted tokens or embeddings by Adam, whose state is carried from time to time.

    White-box: gradients through the victim's denoiser and text encoders. SDXL's two CLIP encoders read the same tokens;
    T5 (SD3, FLUX) reads the goal's own prompt, so that what T5 alone carries cannot be attacked.
    """

    access = Access.GRADIENTS

    class Config(GradientSettings):
        """Settings and budget; every field has a default."""

    def rounds(self) -> int:
        """One a time."""
        return self.config.rounds

    def attempts(self) -> int:
        """Restarts."""
        return self.config.repeat

    def groups(self, goals: Sequence[Example], have: Collection[str]) -> Iterator[Sequence[Example]]:
        """All goals where one insertion serves them all (then the set is searched again if one of them is missing)."""
        if not self.config.universal:
            yield from super().groups(goals, have)
        elif any(goal.id not in have for goal in goals):
            yield goals

    def walker(self, handle: Metered, places: Sequence[Place], seed: int, attempt: int) -> Walker:
        """A descent from its start."""
        return Descent(self, handle, places, seed, attempt)


class Descent:
    """The state of a search: a variable a goal, its optimiser's, and the goal's own draws."""

    def __init__(self, attack: GradientAttack, handle: Metered, places: Sequence[Place], seed: int, attempt: int):
        self.c: Any = attack.config
        model: DiffusionHandle = handle.inner
        self.model = model
        self.places = list(places)
        self.batch = PromptBatch(model, [coded_place(place) for place in places])
        self.draws = [draws_of(attack.name(), place, seed, attempt) for place in places]
        self.shared = generator(seed, "attack", attack.name(), "universal", attempt)
        self.original = None if self.c.loss == "attacker" else open_original(self.c.original, model)
        self.clean = target_latents(model, [place.goal for place in places])
        self.times = [times_of(self.c.rounds, self.c.order, draw) for draw in self.draws]
        self.variable = self._start(places[0].k).requires_grad_(True)
        self.optimiser = self._optimiser()

    # ---- the Walker's verbs -------------------------------------------------------------------------------------
    def propose(self, handle: Metered, number: int) -> list[Coded]:
        """The prompts after `steps` steps at the round's time."""
        ids = [place.goal.id for place in self.places]
        with weights_fixed(self.model, self.original):
            for _ in range(self.c.steps):
                self.step(number)
                handle.spend(ids, queries=1, gradient_steps=1)
        return self.read()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these goals; the others' states are dropped."""
        rows = list(rows)
        self.places = [self.places[i] for i in rows]
        self.draws = [self.draws[i] for i in rows]
        self.times = [self.times[i] for i in rows]
        self.batch, self.clean = self.batch.index(rows), self.clean[rows]
        state = dict(self.optimiser.state.get(self.variable, {}))
        self.variable = self.variable.detach()[rows].requires_grad_(True)
        self.optimiser = self._optimiser()
        if state:
            kept = {name: value[rows] if value.dim() else value for name, value in state.items()}
            self.optimiser.state[self.variable] = kept

    # ---- one step ------------------------------------------------------------------------------------------------
    def step(self, number: int) -> Float[Tensor, " batch"]:
        """One step of the optimiser for every goal; gives their errors."""
        c = self.c
        shape = tuple(self.clean.shape[1:])
        noise = np.stack([draw.standard_normal(shape, dtype=np.float32) for draw in self.draws])
        uniform = np.stack([draw.random(self.variable.shape[1]) for draw in self.draws])
        t = torch.tensor([self._time(times, draw, number) for times, draw in zip(self.times, self.draws, strict=True)])
        if c.universal:
            uniform[:] = self.shared.random(self.variable.shape[1])
        free = self._vectors(torch.from_numpy(uniform).to(self.variable.device))
        free.requires_grad_(True)
        loss = self.error(free, torch.from_numpy(noise).to(self.clean), t.to(self.clean.device))
        (gradient,) = torch.autograd.grad(loss.sum(), free)
        self._descend(gradient)
        return loss.detach()

    def error(
        self, free: Tensor, noise: Float[Tensor, "batch channel height width"], t: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The denoising error of each goal with `free` embeddings at its places."""
        model, c = self.model, self.c
        x = model.noised(self.clean, noise, t)
        texts = [place.goal.prompt or "" for place in self.places]
        made = predicted_noise(model, x, t, self.batch.condition(free), texts)
        if self.original is not None:
            with torch.no_grad():
                aim = self.original.predict(x, t, self.original.encode(texts))
                aim = self.original.to_noise(aim, x, t) if c.error == "noise" else aim
        else:
            aim = noise if c.error == "noise" else model.target(self.clean, noise, t)
        made = model.to_noise(made, x, t) if c.error == "noise" else made
        return errors(made, aim, c.criterion)

    def _vectors(self, uniform: Float[Tensor, "batch k"]) -> Float[Tensor, "batch k width"]:
        """Embeddings that the model reads."""
        if self.c.variable == "free":
            return self.variable.detach().clone()
        rows = drawn(self.variable.detach(), uniform) if self.c.variable == "tokens" else self.nearest()
        return functional.embedding(rows, self.batch.table).clone()

    def _descend(self, gradient: Float[Tensor, "batch k width"]) -> None:
        c = self.c
        if c.variable == "tokens":
            # The gradient at one-hot rows: a product with the table, of k rows a goal instead of all places.
            gradient = functional.hardtanh(gradient @ self.batch.table.T)
        if c.universal:
            gradient = gradient.mean(0, keepdim=True).expand_as(gradient).contiguous()
        self.variable.grad = gradient.to(self.variable)
        self.optimiser.step()
        if c.variable == "tokens":
            project = onto_simplex if c.projection == "exact" else by_bisection
            self.variable.data = project(self.variable.data)

    # ---- reading the variable ------------------------------------------------------------------------------------
    def read(self) -> list[Coded]:
        """Prompts with the most likely or nearest words; free embeddings go with them."""
        rows = self.variable.detach().argmax(-1) if self.c.variable == "tokens" else self.nearest()
        found = []
        for number, (place, words) in enumerate(zip(self.places, rows.tolist(), strict=True)):
            plain = place.goal.prompt or ""
            if self.c.variable != "free":
                found.append(Coded(place.filled(words), plain))
                continue
            parts = self.variable.detach()[number].float().cpu().split(self.batch.widths, -1)
            found.append(Coded(place.filled(words), plain, place.at, tuple(part.numpy() for part in parts)))
        return found

    def nearest(self) -> Int[Tensor, "batch k"]:
        """The vocabulary's nearest words to the variable, by cosine."""
        table = functional.normalize(self.batch.table, dim=-1)
        flat = functional.normalize(self.variable.detach().flatten(0, 1), dim=-1)
        found = [(part @ table.T).argmax(-1) for part in flat.split(AT_ONCE_WORDS)]
        return torch.cat(found).view(self.variable.shape[:2])

    # ---- beginnings ----------------------------------------------------------------------------------------------
    def _start(self, k: int) -> Tensor:
        words = len(self.batch.table)
        draws = [self.shared] * len(self.places) if self.c.universal else self.draws
        if self.c.variable != "tokens":
            first = [draw.integers(0, words, size=k) for draw in draws]
            first = [first[0]] * len(first) if self.c.universal else first
            return functional.embedding(torch.from_numpy(np.stack(first)).to(self.batch.table.device), self.batch.table)
        if self.c.start == "uniform":
            u = torch.full((len(self.places), k, words), 1.0 / words)
        else:
            u = torch.from_numpy(np.stack([draw.random((k, words), dtype=np.float32) for draw in draws]))
            u = u[:1].expand_as(u).clone() if self.c.universal else u
        project = onto_simplex if self.c.projection == "exact" else by_bisection
        return project(u.to(self.batch.table))

    def _optimiser(self) -> torch.optim.Optimizer:
        kind = torch.optim.AdamW if self.c.decoupled else torch.optim.Adam
        # One pass over the variable, which holds a number a word, in place of one an operation.
        return kind([self.variable], lr=self.c.lr, weight_decay=self.c.weight_decay, fused=True)

    def _time(self, times: Sequence[int], draw: np.random.Generator, number: int) -> int:
        return int(draw.integers(STEPS)) if self.c.order == "each_step" else times[number]


def coded_place(place: Place) -> Coded:
    """A goal's prompt with fillers, whose embeddings are the variable."""
    return Coded(place.filled([FILLER] * place.k), place.goal.prompt or "", place.at)


def draws_of(name: str, place: Place, seed: int, attempt: int) -> np.random.Generator:
    """A goal's own draws: start, order of times, then for every step noise, one uniform number a place and, where each
    step has its own time, that."""
    return generator(seed, "attack", name, place.goal.id, attempt)


def times_of(rounds: int, order: Order, draw: np.random.Generator) -> list[int]:
    """Times of the rounds: 10, 30 … 990 for fifty, in their order."""
    apart = STEPS // rounds
    times = list(range(apart // 2, STEPS, apart))[:rounds]
    if order == "descending":
        return times[::-1]
    return [times[i] for i in draw.permutation(rounds)] if order == "random" else times


def target_latents(model: DiffusionHandle, goals: Sequence[Example]) -> Float[Tensor, "goal channel height width"]:
    """Posterior means of the goals' target pictures. Raises UserError for a goal without one."""
    images: list[ImageRef] = []
    for goal in goals:
        if goal.image is None:
            raise UserError(
                f"{goal.id}: has no target picture. Make them with the original model:\n"
                "python -m mmunlearn.diffusion.attack_data --model ORIGINAL --prompts FILE.csv --out FOLDER"
            )
        images.append(goal.image)
    made = model.moments.get(images, [False] * len(images), model.encode_images, model.settings.size_px)
    return made.mean.to(model.device)
