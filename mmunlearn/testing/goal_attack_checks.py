"""Contract checks of attacks that pursue goals; mmunlearn.testing.attack_checks adds them to those of every attack."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmunlearn.attacks.base import Metered
from mmunlearn.attacks.base_goals import GoalAttack, Outcome, ReadoutAttack
from mmunlearn.data import Split
from mmunlearn.handle import weights_digest
from mmunlearn.judges.base import Item, Judge, Verdict
from mmunlearn.testing.attack_toys import HOW, make, task_of
from mmunlearn.testing.counted import Counted


class _Never(Judge):
    """A judge that always says no."""

    version = "1"
    offered = ("yes", "no")

    def grade(self, items: Sequence[Item]) -> Sequence[Verdict]:
        return [Verdict(0.0, "no", "", "") for _ in items]


def _outcomes(cls: type[GoalAttack], seed: int = 0, **settings: Any) -> list[Outcome]:
    task = task_of(cls)
    with tempfile.TemporaryDirectory() as folder:
        how = replace(HOW, folder=Path(folder))
        goals = task.splits["forget"].examples[:3]
        return list(_with(cls, **settings).run(task.original.copy(), goals, _Never(), how, seed))


def _with(cls: type[GoalAttack], **settings: Any) -> GoalAttack:
    """The attack that `make` gives with some settings replaced."""
    attack = make(cls)
    attack.config = attack.config.model_copy(update=settings)
    return attack


def _found(outcome: Outcome) -> list[Any]:
    """What an outcome found, without seconds and places of files."""
    return [(t.origin, t.candidate, t.answer.get("text"), t.verdict.raw) for t in outcome.tries]


def _input_judge(cls: type[GoalAttack]) -> None:
    outcomes = _outcomes(cls)
    assert [o.attacked.value for o in outcomes] == [0.0] * len(outcomes), "success is not the judge's verdict"
    assert [o.clean.value for o in outcomes] == [0.0] * len(outcomes)


def _input_budget(cls: type[GoalAttack]) -> None:
    for outcome in _outcomes(cls):
        assert 1 <= len(outcome.tries) <= make(cls).config.candidates, "other than the budget's number of candidates"


def _goals_untouched(cls: type[GoalAttack]) -> None:
    task = task_of(cls)
    handle = task.original.copy()
    before, data = weights_digest(handle.module), task.splits["forget"].fingerprint
    trained = [parameter.requires_grad for parameter in handle.module.parameters()]
    with tempfile.TemporaryDirectory() as folder:
        how = replace(HOW, folder=Path(folder))
        list(make(cls).run(handle, task.splits["forget"].examples[:3], _Never(), how, 0))
    split = task.splits["forget"]
    assert before == weights_digest(handle.module), "the target's weights changed"
    assert trained == [parameter.requires_grad for parameter in handle.module.parameters()], "its requires_grad changed"
    assert all(parameter.grad is None for parameter in handle.module.parameters()), "gradients were left behind"
    assert data == Split(split.name, split.role, split.examples).fingerprint, "an input changed"


def _goals_cost(cls: type[GoalAttack]) -> None:
    """What is reported by goal is what the meter counted; through the core's verbs it is what the handle was asked."""
    task, attack = task_of(cls), make(cls)
    counted = Counted(task.original.copy())
    goals = task.splits["forget"].examples[:3]
    meter = Metered(counted, cls.access)
    attack.pursue(meter, goals, 0)
    asked = counted.log["queries"] + counted.log["answers"]
    assert meter.cost.queries >= asked, f"{meter.cost.queries} queries reported, {asked} asked"
    assert meter.cost.gradient_steps >= counted.log["steps"], "gradient steps were not reported"
    assert sum(cost.queries for cost in meter.by_goal.values()) == meter.cost.queries
    assert set(meter.by_goal) <= {goal.id for goal in goals}, "costs of what is no goal"
    limit = getattr(attack.config, "queries", None)
    assert limit is None or all(cost.queries <= limit for cost in meter.by_goal.values()), "over its budget"


def _goals_reproducible(cls: type[GoalAttack]) -> None:
    one, two = _outcomes(cls), _outcomes(cls)
    assert [_found(o) for o in one] == [_found(o) for o in two]


def _goals_resumable(cls: type[GoalAttack]) -> None:
    """A goal's outcome does not depend on the goals before it, nor on those searched together with it."""
    task = task_of(cls)
    goals = task.splits["forget"].examples[:3]
    with tempfile.TemporaryDirectory() as folder:
        how = replace(HOW, folder=Path(folder))
        have = {goal.id for goal in goals[:2]}
        (last,) = make(cls).run(task.original.copy(), goals, _Never(), how, 0, have)
    assert _found(last) == _found(_outcomes(cls)[2]), "searched together with others it finds something else"
    assert _found(last) == _found(_outcomes(cls, together=1)[2]), "searched alone it finds something else"


def _read_sets(cls: type[ReadoutAttack]) -> None:
    """Candidate sets are explicit and hold nothing twice."""
    for outcome in _outcomes(cls):
        texts = [t.verdict.raw for t in outcome.tries]
        assert texts, "an empty candidate set"
        assert len(texts) == len(set(texts)), "a candidate stands twice in its set"


_GOALS: Mapping[str, Callable[[type[Any]], None]] = {
    "target untouched": _goals_untouched,
    "cost is the metered cost": _goals_cost,
    "reproducible by seed": _goals_reproducible,
    "resumable by goal": _goals_resumable,
}
INPUT: Mapping[str, Callable[[type[Any]], None]] = {
    "success is the judge's verdict": _input_judge,
    "budget of candidates": _input_budget,
    **_GOALS,
}
READOUT: Mapping[str, Callable[[type[Any]], None]] = {"candidate sets": _read_sets, **_GOALS}
