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
from mmunlearn.handle import Decoding, Handle, Response
from mmunlearn.judges.base import UNSCORED, Item, Judge, Verdict
from mmunlearn.settings import Settings

NOTHING = "nothing"  # origin of the one try of a goal for which nothing was tried
NOTHING_TO_TRY = "the attack finds nothing to change in this goal"


class Trial(NamedTuple):
    """A candidate input and how promising the search thought it (higher = better); the judge decides.

    goal: its index among the goals searched together. origin: where it comes from ("prefix 2", "iteration 7").
    refused: why the goal cannot be attacked; the try is then unscored, and nothing is asked.
    """

    candidate: Example
    promise: float = 0.0
    goal: int = 0
    origin: str = ""
    refused: str = ""


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


def numbered(candidate: Example, goal_id: str, number: int | str) -> Example:
    """The candidate under an id of its own. A tag `file`, which names the goal's own picture, is dropped: candidates
    would be written over it, or found answered there."""
    tags = {name: value for name, value in candidate.tags.items() if name != "file"}
    return replace(candidate, id=renamed(goal_id, number), tags=tags)


def judged_fields(answer: Response, how: Decoding) -> Mapping[str, Any]:
    """Fields of a response as a judge reads them: a picture by its absolute path."""
    if how.folder is None or not answer.fields.get("image"):
        return answer.fields
    return {**answer.fields, "image": str((how.folder / answer.fields["image"]).absolute())}


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
        self.begin(goals)
        for group in self.groups(goals, have):
            meter = Metered(handle, self.access)
            answers = handle.respond(group, how, seed)
            clean = judge([Item(e, judged_fields(a, how)) for e, a in zip(group, answers, strict=True)], cache)
            meter.panel = Panel(self, handle, group, clean, (judge, how, seed, cache))
            started = time.perf_counter()
            found = self.pursue(meter, group, seed)
            seconds = (time.perf_counter() - started) / len(group)
            tries = self.asked(handle, group, found, (judge, how, seed, cache))
            for goal, verdict, own in zip(group, clean, tries, strict=True):
                cost = replace(meter.by_goal.get(goal.id, Cost()), seconds=seconds)
                if goal.id not in have:
                    yield Outcome(goal.id, verdict, tuple(own), cost)

    def groups(self, goals: Sequence[Example], have: Collection[str]) -> Iterator[Sequence[Example]]:
        """Goals that are searched together: those not in `have`, so many at a time."""
        left = [goal for goal in goals if goal.id not in have]
        for first in range(0, len(left), self.config.together):
            yield left[first : first + self.config.together]

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
        asks them it names them by `renamed`. A search that is steered by success has its trials judged while it goes on
        (`judged`) and yields them afterwards; they are not asked a second time.
        """

    def decoding(self, how: Decoding) -> Decoding:
        """How candidates are answered: as the clean question, unless the attack is about that."""
        return how

    @final
    def pursue(self, meter: Metered, goals: Sequence[Example], seed: int) -> list[list[Trial]]:
        """The most promising `candidates` of each goal, the earlier first among equals; a refusal if there is none."""
        found: list[list[Trial]] = [[] for _ in goals]
        for trial in self.search(meter, goals, seed):
            found[trial.goal].append(trial)
        chosen = [
            sorted(own, key=lambda trial: -trial.promise)[: self.config.candidates]
            or [Trial(goal, 0.0, index, NOTHING, refused=NOTHING_TO_TRY)]
            for index, (goal, own) in enumerate(zip(goals, found, strict=True))
        ]
        return chosen if meter.panel is None else [[meter.panel.tried(t) or t for t in own] for own in chosen]

    @final
    def asked(self, handle: Handle, goals: Sequence[Example], found: list[list[Any]], how: tuple) -> list[list[Try]]:
        """Every candidate asked in one batch and judged against its goal's target and tags; tries stay as they are."""
        judge, clean, seed, cache = how
        decoding = self.decoding(clean)
        flat = [
            (index, number, numbered(trial.candidate, goals[index].id, number))
            for index, own in enumerate(found)
            for number, trial in enumerate(own)
            if isinstance(trial, Trial) and not trial.refused
        ]
        answers = handle.respond([example for _, _, example in flat], decoding, seed)
        items = [Item(e, judged_fields(a, decoding)) for (_, _, e), a in zip(flat, answers, strict=True)]
        verdicts = judge(items, cache)
        tries: list[list[Any]] = [[_refusal(t) if isinstance(t, Trial) else t for t in own] for own in found]
        for (index, number, example), answer, verdict in zip(flat, answers, verdicts, strict=True):
            tries[index][number] = Try(found[index][number].origin, verdict, example, answer.fields)
        return tries


def _refusal(trial: Trial) -> Try:
    return Try(trial.origin, UNSCORED._replace(explanation=trial.refused), trial.candidate)


class Panel:
    """Asks and judges trials in the middle of a search, as the base class does at its end. clean: verdicts on the
    goals' own answers, in their order; each try is kept and stays what it is.

    Candidates are numbered "t0", "t1" … in the order in which a goal's trials come.
    """

    def __init__(
        self, attack: "GoalAttack", handle: Handle, goals: Sequence[Example], clean: Sequence[Verdict], how: tuple
    ):
        self.clean = tuple(clean)
        self._attack, self._handle, self._goals, self._how = attack, handle, goals, how
        self._asked = [0] * len(goals)
        self._tries: dict[int, tuple[Trial, Try]] = {}  # by the candidate's identity; the trial keeps it alive

    def ask(self, trials: Sequence[Trial]) -> list[Verdict]:
        """Verdicts on trials, at most the budget's number a goal. Raises RuntimeError beyond it."""
        judge, clean, seed, cache = self._how
        examples = [self._numbered(trial) for trial in trials]
        decoding = self._attack.decoding(clean) if isinstance(self._attack, InputAttack) else clean
        answers = self._handle.respond(examples, decoding, seed)
        items = [Item(e, judged_fields(a, decoding)) for e, a in zip(examples, answers, strict=True)]
        verdicts = judge(items, cache)
        for trial, example, answer, verdict in zip(trials, examples, answers, verdicts, strict=True):
            self._tries[id(trial.candidate)] = (trial, Try(trial.origin, verdict, example, answer.fields))
        return list(verdicts)

    def _numbered(self, trial: Trial) -> Example:
        number = self._asked[trial.goal]
        if number >= self._attack.config.candidates:
            raise RuntimeError(f"{self._attack.name()} has more judged than its budget of candidates")
        self._asked[trial.goal] += 1
        return numbered(trial.candidate, self._goals[trial.goal].id, f"t{number}")

    def tried(self, trial: Trial) -> Try | None:
        """What came of a trial that has been judged."""
        held = self._tries.get(id(trial.candidate))
        return held[1] if held else None


def judged(handle: Metered, trials: Sequence[Trial]) -> list[Verdict]:
    """Verdicts on trials now, for searches that stop at success; a query each. Unscored where nobody judges, which is
    the case outside `run`."""
    if handle.panel is None or not trials:
        return [UNSCORED] * len(trials)
    handle.spend([trial.candidate.id for trial in trials], queries=1)
    return handle.panel.ask(trials)


def clean_verdicts(handle: Metered, goals: Sequence[Example]) -> list[Verdict]:
    """Verdicts on the goals' own answers, before any search; unscored where nobody judges."""
    return [UNSCORED] * len(goals) if handle.panel is None else list(handle.panel.clean)


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
