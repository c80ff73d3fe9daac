"""The battery passes an honest attack of each kind and fails dishonest ones."""

from collections.abc import Iterator

import pytest
import torch

from mmunlearn.attacks.base import Access, InputAttack, Trial, WeightAttack
from mmunlearn.attacks.prune import Prune
from mmunlearn.testing.attack_checks import checks


class Guess(InputAttack):
    """Asks about two noisy copies of the goal and takes the one with the greater loss."""

    access = Access.LOGITS
    paper = "none: for this test"

    def search(self, handle, goal, seed) -> Iterator[Trial]:
        from dataclasses import replace

        for k in range(2):
            changed = replace(goal, prompt=goal.prompt.replace("1", str((k + seed) % 10)))
            yield Trial(changed, float(handle.score(handle.collate([changed])).nll))


class Greedy(Guess):
    """Uses gradients without declaring them."""

    def search(self, handle, goal, seed):
        list(handle.module.parameters())
        yield Trial(goal, 0.0)


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
