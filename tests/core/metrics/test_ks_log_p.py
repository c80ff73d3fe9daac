"""The Kolmogorov-Smirnov p-value against an exact count of all orders, and the extremes."""

import itertools
import math

import numpy as np
import pytest

from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.ks_log_p import KsLogP
from mmunlearn.records import Rows


def rows(ratios, name="r"):
    """Rows whose truth ratio is each of `ratios`."""
    losses = [[0.0, math.log(ratio)] for ratio in ratios]
    ids = tuple(f"{name}{i:03d}" for i in range(len(losses)))
    return Rows(ids, {"choices_nll": np.array(losses), "choices_count": np.ones((len(losses), 2))})


def distance(one, other):
    points = sorted({*one, *other})
    return max(abs(sum(v <= p for v in one) / len(one) - sum(v <= p for v in other) / len(other)) for p in points)


def exact_p(one, other):
    """Share of all ways to deal the values into the two samples that lie at least as far apart."""
    values, n = [*one, *other], len(one)
    seen = distance(one, other)
    far = total = 0
    for chosen in itertools.combinations(range(len(values)), n):
        first = [values[i] for i in chosen]
        second = [values[i] for i in range(len(values)) if i not in chosen]
        far += distance(first, second) >= seen - 1e-12
        total += 1
    return far / total


ONE, OTHER = (0.2, 0.5, 0.9, 1.4, 2.0), (0.3, 1.5, 1.9, 2.5, 3.0)


@pytest.mark.parametrize(("base", "log"), [("e", math.log), ("10", math.log10)])
def test_equals_the_count_of_all_orders(base, log):
    found = KsLogP({"base": base}).reduce(Sight(rows(ONE), reference=rows(OTHER)))
    assert log(exact_p(ONE, OTHER)) == pytest.approx(found.value)
    assert 10 == found.n


def test_equal_samples_give_zero_and_no_minus_infinity_ever_comes():
    assert 0.0 == KsLogP().reduce(Sight(rows(ONE), reference=rows(ONE))).value
    far = KsLogP().reduce(Sight(rows(np.linspace(1, 2, 1500)), reference=rows(np.linspace(3, 4, 1500))))
    assert -709 < far.value < -600


def test_the_order_and_the_names_of_rows_do_not_matter():
    one = KsLogP().reduce(Sight(rows(ONE), reference=rows(OTHER))).value
    assert one == KsLogP().reduce(Sight(rows(ONE[::-1], "x"), reference=rows(OTHER))).value
