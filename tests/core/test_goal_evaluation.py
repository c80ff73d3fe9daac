"""Attacks on goals as a part of evaluation: outcomes are made once, goal by goal, and afresh for another model."""

import pytest

from mmunlearn.attacks.base_goals import Reading, ReadoutAttack
from mmunlearn.card_tables import EvaluationPlan
from mmunlearn.data import Role, Split
from mmunlearn.errors import UserError
from mmunlearn.goal_evaluation import outcomes, outcomes_folder, pursue_all
from mmunlearn.handle import Decoding
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle, TinySettings, tiny_splits

READ: list[str] = []


class Guess(ReadoutAttack):
    """Reads two candidates; every second goal's answer is among them."""

    paper = "none"

    def read(self, handle, goals, seed):
        READ.extend(goal.id for goal in goals)
        handle.spend([goal.id for goal in goals], queries=3)
        return [[Reading("a", "x", False), Reading("b", "y", goal.key % 2 == 0)] for goal in goals]


@pytest.fixture
def parts(monkeypatch, tmp_path):
    from mmunlearn import registry

    load = registry.load
    monkeypatch.setattr(
        "mmunlearn.registry.load", lambda kind, name, modality=None: Guess if name == "guess" else load(kind, name)
    )
    READ.clear()
    settings = TinySettings()
    goals = Split("goals", Role.FORGET, tiny_splits(settings)["forget"].examples[:6])
    plan = EvaluationPlan(name="guess", split="goals", goals=True, attack={"name": "guess", "together": 4})
    return Run.scratch(tmp_path / "run"), plan, TinyHandle(settings), goals


def _go(run, plan, handle, goals):
    pursue_all(run, [plan], handle, {"goals": goals}, lambda name: Decoding(), "tiny")
    return outcomes(run.path, plan)


def test_outcomes_are_rows_with_success_candidates_and_cost(parts):
    run, plan, handle, goals = parts
    rows = _go(run, plan, handle, goals)
    assert sorted(goals.ids) == list(rows.ids)
    keys = {goal.id: goal.key for goal in goals}
    assert [float(keys[i] % 2 == 0) for i in rows.ids] == rows["success"].tolist()
    assert set(rows["candidates"]) == {2.0} and set(rows["queries"]) == {3.0}
    assert {float(tries[0]) for tries in rows["tries"]} == {0.0}


def test_the_same_again_asks_nothing_and_a_missing_goal_alone(parts):
    run, plan, handle, goals = parts
    first = _go(run, plan, handle, goals)
    READ.clear()
    _go(run, plan, handle, goals)
    assert READ == []
    (file,) = outcomes_folder(run.path, plan).glob("rows-*.jsonl")
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:-1]) + "\n")
    again = _go(run, plan, handle, goals)
    assert len(READ) == 1 and first.ids == again.ids
    assert first["success"].tolist() == again["success"].tolist()


def test_another_model_starts_afresh(parts):
    run, plan, handle, goals = parts
    _go(run, plan, handle, goals)
    READ.clear()
    _go(run, plan, handle.fresh(5), goals)
    assert len(READ) == len(goals)


def test_an_attack_without_goals_is_refused(parts):
    run, _, handle, goals = parts
    plan = EvaluationPlan(name="x", split="goals", goals=True, attack={"name": "membership"})
    with pytest.raises(UserError, match=r"pursues no goals"):
        _go(run, plan, handle, goals)
