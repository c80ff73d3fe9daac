"""Attacks that pursue goals one by one: get this answer, this picture out of the model again.

`InputAttack` searches for another input, `AnswerAttack` changes embeddings or activations while the question is
answered, `ReadoutAttack` reads candidates out of the model. Each gives an explicit set of candidates a goal in order of
promise, so that success at a budget B is whether any of the first B succeeds.
"""

import time
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, final

from pydantic import Field

from mmunlearn.attacks.base import Access, Attack, Cost, Metered, renamed
from mmunlearn.data import Example
from mmunlearn.handle import Decoding, Handle
from mmunlearn.judges.base import UNSCORED, Item, Judge, Verdict
from mmunlearn.settings import Settings


class Trial(NamedTuple):
    """A candidate input and how promising the search thought it (higher = better); the judge decides.

    goal: its index among the goals searched together. origin: where it comes from ("prefix 2", "iteration 7").
    """

    candidate: Example
    promise: float = 0.0
    goal: int = 0
    origin: str = ""


class Answer(NamedTuple):
    """An answer obtained while something other than the input was changed, and how promising the search thought it.

    fields: of the response, as the judge reads them. origin: what was changed ("step 40").
    """

    fields: Mapping[str, Any]
    origin: str
    promise: float = 0.0


class Reading(NamedTuple):
    """A candidate answer read out of the model: its text, where it was read ("layer 27 top 1"), whether it is it."""

    text: str
    origin: str
    hit: bool


@dataclass(frozen=True)
class Try:
    """One candidate and what came of it. candidate: None for read-outs. answer: fields of the response."""

    origin: str
    verdict: Verdict
    candidate: Example | None = None
    answer: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Clean verdict of one goal, its tries in order of promise, and what the search cost."""

    id: str
    clean: Verdict
    tries: tuple[Try, ...]
    cost: Cost = field(default_factory=Cost)

    @property
    def best(self) -> Try:
        """The first try that succeeds most; the first of all where none is scored."""
        scored = [t for t in self.tries if t.verdict.scored]
        return max(scored, key=lambda t: t.verdict.value) if scored else self.tries[0]

    @property
    def attacked(self) -> Verdict:
        """The verdict of the best try."""
        return self.best.verdict

    def success_at(self, budget: int) -> float:
        """Greatest verdict of the first `budget` tries; NaN where none of them is scored."""
        values = [t.verdict.value for t in self.tries[:budget] if t.verdict.scored]
        return max(values) if values else UNSCORED.value


class GoalSettings(Settings):
    """together: goals searched in one batch; their outcomes do not depend on it."""

    together: int = Field(16, ge=1)


class GoalAttack(Attack):
    """An attack on goals. `run` yields one outcome a goal, in order; goals in `have` are stored already."""

    class Config(GoalSettings):
        """Settings and budget; every field has a default."""

    @final
    def run(
        self,
        handle: Handle,
        goals: Sequence[Example],
        judge: Judge,
        how: Decoding,
        seed: int,
        have: Collection[str] = (),
    ) -> Iterator[Outcome]:
        """Outcomes of the goals that are not in `have`; each candidate is asked and judged afresh.

        Cost is the search's alone, by goal: not the clean answer, not the final asking. Seconds of goals searched
        together are shared equally.
        """
        cache: dict[str, Verdict] = {}
        left = [goal for goal in goals if goal.id not in have]
        self.begin(goals)
        for first in range(0, len(left), self.config.together):
            group = left[first : first + self.config.together]
            meter = Metered(handle, self.access)
            started = time.perf_counter()
            found = self.pursue(meter, group, seed)
            seconds = (time.perf_counter() - started) / len(group)
            answers = handle.respond(group, how, seed)
            clean = judge([Item(e, a.fields) for e, a in zip(group, answers, strict=True)], cache)
            tries = self.asked(handle, group, found, (judge, how, seed, cache))
            for goal, verdict, own in zip(group, clean, tries, strict=True):
                cost = replace(meter.by_goal.get(goal.id, Cost()), seconds=seconds)
                yield Outcome(goal.id, verdict, tuple(own), cost)

    def begin(self, goals: Sequence[Example]) -> None:
        """Told once a run, before any search, which goals there are: for attacks that learn from the others."""

    @abstractmethod
    def pursue(self, meter: Metered, goals: Sequence[Example], seed: int) -> list[list[Any]]:
        """What was found for each goal, most promising first."""

    @abstractmethod
    def asked(self, handle: Handle, goals: Sequence[Example], found: list[list[Any]], how: tuple) -> list[list[Try]]:
        """What was found with verdicts. how: (judge, decoding, seed, cache of verdicts)."""


class InputSettings(GoalSettings):
    """candidates: budget B, how many of the most promising candidates of a goal are asked and judged."""

    candidates: int = Field(1, ge=1)


class InputAttack(GoalAttack):
    """An attack on the input: the subclass proposes candidates, the base class asks them afresh and has them judged."""

    class Config(InputSettings):
        """Settings and budget; every field has a default."""

    @abstractmethod
    def search(self, handle: Metered, goals: Sequence[Example], seed: int) -> Iterator[Trial]:
        """Propose candidates for goals that are searched together; `handle` counts and limits what is used.

        A goal's trials must depend on (seed, goal) alone. Candidates may keep the goal's id; where the search itself
        asks them it names them by `renamed`.
        """

    def decoding(self, how: Decoding) -> Decoding:
        """How candidates are answered: as the clean question, unless the attack is about that."""
        return how

    @final
    def pursue(self, meter: Metered, goals: Sequence[Example], seed: int) -> list[list[Trial]]:
        """The most promising `candidates` of each goal, the earlier first among equals; the goal itself if none."""
        found: list[list[Trial]] = [[] for _ in goals]
        for trial in self.search(meter, goals, seed):
            found[trial.goal].append(trial)
        return [
            sorted(own, key=lambda trial: -trial.promise)[: self.config.candidates]
            or [Trial(goal, 0.0, index, "the goal itself")]
            for index, (goal, own) in enumerate(zip(goals, found, strict=True))
        ]

    @final
    def asked(self, handle: Handle, goals: Sequence[Example], found: list[list[Any]], how: tuple) -> list[list[Try]]:
        """Every candidate asked in one batch and judged against its goal's target and tags."""
        judge, clean, seed, cache = how
        decoding = self.decoding(clean)
        flat = [
            (index, replace(trial.candidate, id=renamed(goals[index].id, number)), trial.origin)
            for index, own in enumerate(found)
            for number, trial in enumerate(own)
        ]
        answers = handle.respond([example for _, example, _ in flat], decoding, seed)
        verdicts = judge([Item(e, a.fields) for (_, e, _), a in zip(flat, answers, strict=True)], cache)
        tries: list[list[Try]] = [[] for _ in goals]
        for (index, example, origin), answer, verdict in zip(flat, answers, verdicts, strict=True):
            tries[index].append(Try(origin, verdict, example, answer.fields))
        return tries


class AnswerAttack(GoalAttack):
    """An attack that makes the model answer the goal's own question with changed embeddings or activations.

    Weights and input stay as they are, and no example can carry the change: the subclass gives the answers themselves.
    """

    access = Access.WEIGHTS

    class Config(InputSettings):
        """Settings and budget; every field has a default."""

    @abstractmethod
    def answers(self, handle: Metered, goals: Sequence[Example], seed: int) -> list[list[Answer]]:
        """Answers to each goal; what it makes of a goal must not depend on those searched together with it."""

    @final
    def pursue(self, meter: Metered, goals: Sequence[Example], seed: int) -> list[list[Answer]]:
        """The most promising `candidates` answers of each goal, the earlier first among equals."""
        found = self.answers(meter, goals, seed)
        return [sorted(own, key=lambda answer: -answer.promise)[: self.config.candidates] for own in found]

    @final
    def asked(self, handle: Handle, goals: Sequence[Example], found: list[list[Any]], how: tuple) -> list[list[Try]]:
        """The answers judged against their goal's target and tags; nothing is asked again."""
        judge, _, _, cache = how
        flat = [(index, answer) for index, own in enumerate(found) for answer in own]
        verdicts = judge([Item(goals[index], answer.fields) for index, answer in flat], cache)
        tries: list[list[Try]] = [[] for _ in goals]
        for (index, answer), verdict in zip(flat, verdicts, strict=True):
            tries[index].append(Try(answer.origin, verdict, None, answer.fields))
        return tries


class ReadoutAttack(GoalAttack):
    """An attack that reads candidate answers out of the model's states; whether one is the answer is a fact."""

    access = Access.WEIGHTS

    @abstractmethod
    def read(self, handle: Metered, goals: Sequence[Example], seed: int) -> list[list[Reading]]:
        """The candidate set of each goal without repetitions, most promising first (its length is |C|)."""

    @final
    def pursue(self, meter: Metered, goals: Sequence[Example], seed: int) -> list[list[Reading]]:
        """As `read`."""
        return self.read(meter, goals, seed)

    @final
    def asked(self, handle: Handle, goals: Sequence[Example], found: list[list[Any]], how: tuple) -> list[list[Try]]:
        """Readings as tries; nothing is asked."""
        return [[Try(r.origin, Verdict(float(r.hit), None, "", r.text)) for r in own] for own in found]
