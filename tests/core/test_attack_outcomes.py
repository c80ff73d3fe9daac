"""What a goal's stored tries amount to, by hand."""

import math

from mmunlearn.attack_outcomes import success_at
from mmunlearn.attacks.base_goals import NOTHING, Outcome, Try
from mmunlearn.judges.base import UNSCORED, Verdict


def outcome(clean, *tries):
    return Outcome("x", verdict(clean), tuple(Try(origin, verdict(value)) for origin, value in tries))


def verdict(value):
    return UNSCORED if value is None else Verdict(value)


def test_the_greatest_verdict_of_so_many_tries():
    found = outcome(0.0, ("a", None), ("b", 0.0), ("c", 1.0))
    assert [0.0, 0.0, 1.0, 1.0] == [success_at(found, budget) for budget in (1, 2, 3, None)]
    assert 0.0 == success_at(outcome(1.0))  # a read-out that read nothing
    assert math.isnan(success_at(outcome(None, ("a", 1.0)))) and math.isnan(success_at(outcome(0.0, ("a", None))))


def test_a_goal_left_alone_because_its_clean_answer_succeeds_is_a_success():
    left = outcome(1.0, (NOTHING, None))
    assert [1.0, 1.0] == [success_at(left, budget) for budget in (1, None)]
    assert all(math.isnan(success_at(outcome(clean, (NOTHING, None)))) for clean in (0.0, 0.2))
    assert math.isnan(success_at(outcome(1.0, ("refused", None))))
