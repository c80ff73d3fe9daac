"""The battery passes an honest attack of each kind and fails dishonest ones."""

from collections.abc import Iterator

import pytest
import torch

from mmunlearn.attacks.base import Access, WeightAttack
from mmunlearn.attacks.base_goals import InputAttack, Reading, ReadoutAttack, Trial
from mmunlearn.attacks.prune import Prune
from mmunlearn.testing.attack_checks import checks


class Guess(InputAttack):
    """Asks about two noisy copies of the goal and takes the one with the greater loss."""

    access = Access.LOGITS
    paper = "none: for this test"

    def search(self, handle, goals, seed) -> Iterator[Trial]:
        from dataclasses import replace

        for index, goal in enumerate(goals):
            for k in range(2):
                changed = replace(goal, prompt=goal.prompt.replace("1", str((k + seed) % 10)))
                yield Trial(changed, float(handle.score(handle.collate([changed])).nll), index)


class Peek(ReadoutAttack):
    """Reads the target's loss as a number."""

    paper = "none: for this test"

    def read(self, handle, goals, seed):
        losses = handle.score(handle.collate(goals)).nll.tolist()
        return [[Reading(f"{loss:.4f}", "loss", False)] for loss in losses]


class Stutter(Peek):
    """Says the same twice."""

    def read(self, handle, goals, seed):
        return [own * 2 for own in super().read(handle, goals, seed)]


class Drifting(Guess):
    """What it finds for a goal depends on its neighbours."""

    def search(self, handle, goals, seed):
        for index, goal in enumerate(goals):
            yield Trial(goal, 0.0, index, f"{len(goals)} together")


class Hushed(Guess):
    """Asks the model behind the meter's back."""

    def search(self, handle, goals, seed):
        handle.inner.score(handle.collate(goals))
        yield from (Trial(goal, 0.0, index) for index, goal in enumerate(goals))


class Greedy(Guess):
    """Uses gradients without declaring them."""

    def search(self, handle, goals, seed):
        list(handle.module.parameters())
        yield Trial(goals[0])


class Vandal(Prune):
    """Changes the target through a reference it kept."""

    target = None

    def tamper(self, handle, data, run):
        with torch.no_grad():
            next(Vandal.target.module.parameters()).add_(1.0)
        yield "all", handle


class Moody(WeightAttack):
    """Gives another model every time."""

    paper = "none: for this test"
    calls = 0

    def tamper(self, handle, data, run):
        Moody.calls += 1
        with torch.no_grad():
            next(handle.module.parameters()).add_(float(Moody.calls))
        yield "all", handle


class Nosy(WeightAttack):
    """Reads a split that it does not declare."""

    needs = ()
    paper = "none: for this test"

    def tamper(self, handle, data, run):
        data.get("forget") or data["forget"]
        yield "all", handle


def _run(cls, name):
    next(check for check in checks(cls) if check.name == name).run()


@pytest.mark.parametrize("name", [check.name for check in checks(Guess)])
def test_an_honest_input_attack_passes(name):
    _run(Guess, name)


@pytest.mark.parametrize("name", [check.name for check in checks(Peek)])
def test_an_honest_readout_passes(name):
    _run(Peek, name)


@pytest.mark.parametrize(
    ("cls", "name", "message"),
    [
        (Stutter, "candidate sets", "stands twice"),
        (Drifting, "resumable by goal", "together"),
        (Hushed, "cost is the metered cost", "queries reported"),
    ],
)
def test_dishonest_attacks_on_goals_are_found(cls, name, message):
    with pytest.raises(AssertionError, match=message):
        _run(cls, name)


def test_access_beyond_the_declared_raises():
    with pytest.raises(PermissionError, match="did not declare"):
        _run(Greedy, "reproducible by seed")


def test_a_changed_target_is_found(monkeypatch):
    from mmunlearn.testing import attack_checks

    original = attack_checks.task_of(Prune).original

    class Task:
        splits = attack_checks.task_of(Prune).splits

    Task.original = original.copy()
    Vandal.target = Task.original
    Task.original.copy = lambda: Vandal.target  # the attacked handle is the one that the attack kept
    monkeypatch.setattr(attack_checks, "task_of", lambda _: Task)
    with pytest.raises(AssertionError, match="weights changed"):
        _run(Vandal, "target untouched")


def test_an_attack_that_gives_other_results_each_time_is_found():
    with pytest.raises(AssertionError, match="other answers"):
        _run(Moody, "reproducible by seed")


def test_a_split_read_without_declaring_it_is_found():
    with pytest.raises((AssertionError, KeyError)):
        _run(Nosy, "reads declared splits only")
