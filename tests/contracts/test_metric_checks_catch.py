"""The metric checks fail on metrics that break the contract, each on the check that is meant to catch it."""

import sys

import numpy as np
import pytest

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.metrics.top1 import Top1
from mmunlearn.testing.metric_checks import checks


class WrongWay(Top1):
    better = "lower"


class FirstRow(Metric):
    """Depends on which row comes first."""

    def reduce(self, sight: Sight) -> Value:
        return Value(float(sight.rows["nll"][0]), len(sight.rows)) if len(sight.rows) else NOTHING


class ZeroWhenEmpty(Top1):
    def reduce(self, sight: Sight) -> Value:
        return super().reduce(sight) if len(sight.rows) else Value(0.0, 0)


class CountsUnscored(Metric):
    """Takes rows without a number for wrong answers."""

    def reduce(self, sight: Sight) -> Value:
        if not len(sight.rows):
            return NOTHING
        return Value(float(np.nan_to_num(sight.rows["value"]).mean()), len(sight.rows))


class WrongExample(Top1):
    """An example that is not true.

    >>> 1 + 1
    3
    """


@pytest.mark.parametrize(
    ("component", "caught"),
    [
        (WrongWay, "the value moves in the declared direction"),
        (FirstRow, "the order of rows does not matter"),
        (ZeroWhenEmpty, "empty rows give NaN with n = 0"),
        (CountsUnscored, "rows without a number give NaN with n = 0"),
        (WrongExample, "the example in the docstring runs"),
    ],
)
def test_a_broken_metric_fails_its_check(component, caught, monkeypatch):
    monkeypatch.setitem(sys.modules, component.__module__, sys.modules[__name__])
    check = next(check for check in checks(component) if check.name == caught)
    with pytest.raises(AssertionError):
        check.run()


def test_the_sound_one_passes_them_all():
    for check in checks(Top1):
        check.run()
