"""Learning a perturbation: folds by subject, lessons without the answer, descent as a loop, costs charged by goal."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmunlearn.vlm.learning import LearnSettings, Teacher, fold_of, learn

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.data import Example
from mmunlearn.errors import UserError

GOALS = [
    Example(
        id=f"s{k}/{n}", prompt=f"What is the {n} of this?", target=f"It is {k}{n}.", choices=("x",),
        tags={"identity": f"s{k}", "keywords": f"word {k}{n}"},
    )
    for k in range(5)
    for n in range(2)
]  # fmt: skip


class Distance:
    """A made-up kind: a number, whose loss on a lesson is its squared distance from that lesson's number."""

    open_ended = False

    def __init__(self):
        self.seen = []

    def start(self, meter, lessons, draw):
        return torch.zeros(())

    def mover(self, value):
        def move(grad):
            value.data -= 0.1 * grad

        return move

    def nll(self, meter, lessons, value):
        self.seen.append([lesson.target for lesson in lessons])
        meter.spend([lesson.id for lesson in lessons], queries=1, gradient_steps=1)
        return torch.stack([(value - float(lesson.id[1])) ** 2 for lesson in lessons])


def meter():
    return Metered(SimpleNamespace(modality="vlm"), Access.GRADIENTS)


def test_descent_against_a_loop():
    lessons = GOALS[:6]
    order = np.random.default_rng(3).permutation(6)

    kept = learn(meter(), Distance(), lessons, LearnSettings(steps=5, every=2, lessons=4), np.random.default_rng(3))

    value, at, expected = 0.0, 0, []
    for step in range(1, 6):
        numbers = []
        for _ in range(4):
            numbers.append(float(lessons[order[at % 6]].id[1]))
            at += 1
        loss = sum((value - number) ** 2 for number in numbers) / 4
        value -= 0.1 * sum(2 * (value - number) for number in numbers) / 4
        if step in (2, 4, 5):
            expected.append((step, value, loss))
    for one, (step, number, loss) in zip(kept, expected, strict=True):
        assert step == one.step
        assert pytest.approx(number, abs=1e-5) == float(one.value)
        assert pytest.approx(loss, abs=1e-5) == one.loss_nats


def test_a_subject_lies_in_one_fold_and_the_order_of_goals_changes_nothing():
    folds = fold_of(GOALS, 3, 0)

    assert folds == fold_of(GOALS[::-1], 3, 0)
    assert all(folds[f"s{k}/0"] == folds[f"s{k}/1"] for k in range(5))
    assert [2, 4, 4] == sorted(Counter(folds.values()).values())
    assert any(folds != fold_of(GOALS, 3, seed) for seed in range(1, 6))


def test_lessons_hold_no_goal_of_the_same_subject_and_no_equal_answer():
    """s0/0's answer and s3/0's keywords stand in another subject's goals too; whoever could teach them is left out."""
    twin = Example(id="t/0", prompt="?", target=GOALS[0].target, tags={"identity": "t", "keywords": "x y"})
    same = Example(id="u/0", prompt="?", target="Another.", tags={"identity": "u", "keywords": "word 00"})
    among = [*GOALS, twin, same]
    teacher, kind = Teacher(), Distance()
    teacher.begin(among)
    how = LearnSettings(steps=3, lessons=100, folds=7)

    kind.nll = lambda meter, lessons, value: (kind.seen.append([x.id for x in lessons]), value * 0 + torch.ones(1))[1]
    teacher.taught(meter(), kind, GOALS[:1], how, 0)

    assert {"s0/0", "s0/1", "t/0", "u/0"}.isdisjoint(kind.seen[0])
    assert {goal.id for goal in GOALS[2:]} == set(kind.seen[0])


def test_gold_and_opening_learn_on_the_goal_itself():
    for aim, target, ended in (("gold", "It is 00.", True), ("opening", "Of course, the 0 of this is", False)):
        kind = Distance()
        Teacher().taught(meter(), kind, GOALS[:1], LearnSettings(aim=aim, steps=1), 0)

        assert [[target]] == kind.seen
        assert ended != kind.open_ended


def test_each_goal_pays_its_whole_learning_and_a_fold_is_learnt_once():
    teacher, kind, how = Teacher(), Distance(), LearnSettings(steps=4, lessons=3, folds=5)
    teacher.begin(GOALS)
    one, two = meter(), meter()

    first = teacher.taught(one, kind, GOALS[:2], how, 0)
    second = teacher.taught(two, kind, GOALS[:1], how, 0)

    assert 4 == len(kind.seen), "a fold was learnt twice"
    assert first[0] is first[1] is second[0]
    assert {(12, 4)} == {(cost.queries, cost.gradient_steps) for cost in (*one.by_goal.values(), *two.by_goal.values())}
    assert 24 == one.cost.queries == sum(cost.queries for cost in one.by_goal.values())


def test_a_new_run_learns_anew():
    teacher, kind, how = Teacher(), Distance(), LearnSettings(steps=1, folds=5)
    for _ in range(2):
        teacher.begin(GOALS)
        teacher.taught(meter(), kind, GOALS[:1], how, 0)

    assert 2 == len(kind.seen)


def test_one_subject_alone_cannot_be_learnt_from_others():
    with pytest.raises(UserError, match="aim=opening"):
        Teacher().taught(meter(), Distance(), GOALS[:2], LearnSettings(), 0)
