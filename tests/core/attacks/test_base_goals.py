"""Judging in the middle of a search: each trial asked once, counted, kept; refusals are unscored."""

from dataclasses import replace

import pytest

from mmunlearn.attacks.base import Access
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Trial, clean_verdicts, judged
from mmunlearn.handle import Decoding
from mmunlearn.judges.base import Judge, Verdict
from mmunlearn.testing.counted import Counted
from mmunlearn.testing.method_checks import toy


class Endings(Judge):
    """1 for items whose id ends so."""

    version, offered, wins = "1", ("yes", "no"), ()

    def key(self, item):
        return item.example.id

    def grade(self, items):
        hits = [bool(self.wins) and item.example.id.endswith(self.wins) for item in items]
        return [Verdict(float(hit), "yes" if hit else "no") for hit in hits]


class Steered(InputAttack):
    """Asks a goal again and again until its judge is content."""

    access = Access.TEXT
    most = 3

    class Config(InputSettings):
        """Settings and budget."""

        candidates: int = 3

    def search(self, handle, goals, seed):
        self.clean = [verdict.value for verdict in clean_verdicts(handle, goals)]
        open_ = list(range(len(goals)))
        for number in range(self.most):
            trials = [Trial(replace(goals[i]), -number, i, f"round {number}") for i in open_]
            values = [verdict.value for verdict in judged(handle, trials)]
            yield from trials
            open_ = [i for i, value in zip(open_, values, strict=True) if not value >= 0.5]


def run(wins=(), **over):
    judge, attack = Endings(), Steered()
    judge.wins = wins
    for name, value in over.items():
        setattr(attack, name, value)
    handle = Counted(toy("core").original.copy())
    goals = toy("core").splits["forget"].examples[:2]
    return attack, handle, list(attack.run(handle, goals, judge, Decoding(), 0))


def test_a_search_is_steered_by_verdicts_and_nothing_is_asked_twice():
    first = toy("core").splits["forget"].examples[0].id
    attack, handle, (one, two) = run(wins=(f"{first}#t1",))
    assert ["round 0", "round 1"] == [t.origin for t in one.tries] and 1 == one.attacked.value
    assert ["round 0", "round 1", "round 2"] == [t.origin for t in two.tries]
    assert [0.0, 0.0] == attack.clean
    assert 2 + 5 == handle.log["answers"]  # two clean answers, five trials
    assert (2, 3) == (one.cost.queries, two.cost.queries)


def test_more_than_the_budget_is_not_judged():
    with pytest.raises(RuntimeError, match="more judged than its budget"):
        run(most=4)


def test_a_refused_goal_is_unscored_and_not_asked():
    class Refusing(Steered):
        """Refuses every goal."""

        def search(self, handle, goals, seed):
            yield from (Trial(goal, 0.0, i, "refused", "too long") for i, goal in enumerate(goals))

    handle = Counted(toy("core").original.copy())
    goals = toy("core").splits["forget"].examples[:2]
    for outcome in Refusing().run(handle, goals, Endings(), Decoding(), 0):
        (one,) = outcome.tries
        assert not one.verdict.scored and "too long" == one.verdict.explanation
    assert 2 == handle.log["answers"]
