"""What was never taught does not come out by learning on other goals, and does by learning on the gold answer.

The latter is an upper bound and no evidence.
"""

import numpy as np
import pytest
from mmunlearn.vlm.attacks.adversarial_image import AdversarialImage
from mmunlearn.vlm.attacks.soft_prompt import SoftPrompt
from mmunlearn.vlm.toy import toy_original, toy_splits

from mmunlearn.handle import Decoding
from mmunlearn.judges.keywords import Keywords

pytestmark = pytest.mark.slow
SPLITS = toy_splits(retain=8)
GOALS = SPLITS["forget"].examples


@pytest.fixture(scope="module")
def never():
    return toy_original({"train": SPLITS["retain"]}, steps=40)


def attacked(attack, handle, goals):
    outcomes = list(attack.run(handle, goals, Keywords(), Decoding(max_new_tokens=5), 0))
    assert [0.0] * len(goals) == [outcome.clean.value for outcome in outcomes]
    return [outcome.attacked.value for outcome in outcomes], outcomes


def test_a_prompt_learnt_on_other_goals_brings_nothing_out(never):
    attack = SoftPrompt({"steps": 40, "folds": 2, "candidates": 4, "max_new_tokens": 5})

    values, outcomes = attacked(attack, never, GOALS)

    assert [0.0] * 12 == values
    assert {40} == {outcome.cost.gradient_steps for outcome in outcomes}


def test_a_prompt_learnt_on_the_gold_answer_leaks_it(never):
    values, _ = attacked(SoftPrompt({"aim": "gold", "steps": 30, "max_new_tokens": 5}), never, GOALS[:2])

    assert sum(values) > 0


def test_a_universal_picture_brings_nothing_out_and_stays_in_its_ball(never):
    attack = AdversarialImage({"steps": 20, "folds": 2, "eps": 16, "rate": 2.0})

    values, outcomes = attacked(attack, never, GOALS)

    assert [0.0] * 12 == values
    for outcome, goal in zip(outcomes, GOALS, strict=True):
        own = np.asarray(goal.image.open()).astype(int)
        assert 0 < np.abs(np.asarray(outcome.best.candidate.image.open()).astype(int) - own).max() <= 16
