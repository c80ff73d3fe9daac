"""Learning a perturbation: on other goals (held out by subject), on an affirmative opening, or on the answer itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from mmunlearn.attacks.base import Cost, Metered
from mmunlearn.attacks.base_goals import InputSettings
from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.judges._words import normal
from mmunlearn.seeds import derive, generator

from .asking import subject_of
from .perturbations import Perturbation
from .question_forms import opening

Aim = Literal["others", "opening", "gold"]


class LearnSettings(InputSettings):
    """aim: what the perturbation is learnt on.

    others: true answers of goals about other subjects; what it does to a goal, it does without knowing the answer.
    opening: the goal's own question and an affirmative opening without the answer. gold: the goal's own answer; any
    model can be forced to say anything: an upper bound and no evidence, as the retrained model under it shows.
    folds: parts of the subjects held out in turn ("others"). steps: of gradient descent. every: steps between two
    perturbations that are tried. lessons: examples a step.
    """

    aim: Aim = "others"
    folds: int = Field(5, ge=2)
    steps: int = Field(100, ge=1)
    every: int = Field(10, ge=1)
    lessons: int = Field(16, ge=1)


class Learnt(NamedTuple):
    """A perturbation after so many steps, and the mean loss of the last step, in nats a token."""

    step: int
    value: Tensor
    loss_nats: float


def learn(
    meter: Metered, kind: Perturbation, lessons: Sequence[Example], how: LearnSettings, draw: np.random.Generator
) -> list[Learnt]:
    """Descend the mean negative log-likelihood of the lessons' answers; the perturbations met on the way, in order."""
    value = kind.start(meter, lessons, draw)
    move = kind.mover(value)
    order = draw.permutation(len(lessons))
    size = min(how.lessons, len(lessons))
    kept = []
    for step in range(1, how.steps + 1):
        chosen = [lessons[int(order[k % len(lessons)])] for k in range((step - 1) * size, step * size)]
        tried = value.detach().clone().requires_grad_()
        loss = kind.nll(meter, chosen, tried).mean()
        (grad,) = torch.autograd.grad(loss, tried)
        move(grad)
        if step % how.every == 0 or step == how.steps:
            kept.append(Learnt(step, value.detach().clone(), float(loss.detach())))
    return kept


@dataclass
class Teacher:
    """Gives each goal the perturbations that its attack may use, and charges it what an attacker of it alone pays."""

    among: tuple[Example, ...] = ()
    kept: dict[Any, tuple[list[Learnt], Cost]] | None = None  # by fold, within a run
    pictured: bool = field(default=False)  # lessons must have a picture

    def begin(self, goals: Sequence[Example]) -> None:
        """A new run over these goals."""
        self.among, self.kept = tuple(goals), {}

    def taught(
        self, meter: Metered, kind: Perturbation, goals: Sequence[Example], how: LearnSettings, seed: int
    ) -> list[list[Learnt]]:
        """Perturbations for each goal; every one of a fold gets the same and is charged the whole."""
        among = self.among or tuple(goals)
        kept: dict[Any, tuple[list[Learnt], Cost]] = self.kept if self.kept is not None else {}
        folds = fold_of(among, how.folds, seed) if how.aim == "others" else {}
        kind.open_ended = how.aim == "opening"
        given = []
        for goal in goals:
            key = (seed, folds[goal.id]) if how.aim == "others" else goal.id
            if key not in kept:
                lessons = self._lessons(goal, among, folds, how)
                own = Metered(meter.inner, meter.access)
                made = learn(own, kind, lessons, how, generator(seed, "attack", "learn", key))
                kept[key] = (made, own.cost)
            made, cost = kept[key]
            meter.spend([goal.id], queries=cost.queries, gradient_steps=cost.gradient_steps)
            given.append(made)
            if how.aim != "others":
                del kept[key]
        return given

    def _lessons(
        self, goal: Example, among: Sequence[Example], folds: dict[str, int], how: LearnSettings
    ) -> list[Example]:
        if how.aim == "gold":
            return [replace(goal, choices=())]
        if how.aim == "opening":
            return [replace(goal, target=f"Of course, {opening(goal.prompt or '')}", choices=())]
        held = [other for other in among if folds[other.id] == folds[goal.id]]
        hidden = {told for other in held for told in _answers(other)}
        lessons = [
            replace(other, choices=())
            for other in among
            if folds[other.id] != folds[goal.id]
            and isinstance(other.target, str)
            and not hidden & _answers(other)
            and (other.image is not None or not self.pictured)
        ]
        if not lessons:
            raise UserError(
                f"{goal.id}: no goal about another subject has another answer to learn from.\n"
                "Attack more goals at once, or learn on an opening: aim=opening."
            )
        return lessons


def fold_of(goals: Sequence[Example], folds: int, seed: int) -> dict[str, int]:
    """The fold of each goal by id: those about one subject share it; subjects are dealt in an order drawn by seed."""
    named = {subject_of(goal) for goal in goals}
    subjects = sorted(named, key=lambda subject: (derive(seed, "fold", subject), subject))
    place = {subject: k % folds for k, subject in enumerate(subjects)}
    return {goal.id: place[subject_of(goal)] for goal in goals}


def _answers(goal: Example) -> set[str]:
    """The whole answer and the whole list of keywords: lessons that share either would teach the held-out answer."""
    return {text for text in (normal(str(goal.target)), normal(goal.tags.get("keywords", ""))) if text}
