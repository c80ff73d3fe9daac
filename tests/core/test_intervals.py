import math

import numpy as np
import pytest
from scipy.stats import binomtest

from mmunlearn import intervals
from mmunlearn.intervals import paired_difference


def test_wilson_ends_solve_the_score_equation():
    for hits, n in ((3, 10), (97, 100), (1, 1500)):
        for end in intervals.wilson(hits, n):
            z = abs(hits / n - float(end)) / np.sqrt(float(end) * (1 - float(end)) / n)
            assert 1.959964 == pytest.approx(z, abs=1e-5)


def test_wilson_of_nothing_is_nan_and_arrays_broadcast():
    low, high = intervals.wilson(np.array([0, 5, 10]), np.array([0, 10, 10]))
    assert [True, False, False] == np.isnan(low).tolist()
    assert 1.0 == pytest.approx(high[2])


def test_wilson_covers_a_small_share_as_often_as_it_says():
    hits = np.random.default_rng(0).binomial(80, 0.05, 4000)
    low, high = intervals.wilson(hits, 80)
    assert 0.95 == pytest.approx(float(((low <= 0.05) & (0.05 <= high)).mean()), abs=0.03)


def test_bootstrap_of_a_mean_has_the_standard_error_of_a_mean():
    values = np.random.default_rng(1).normal(size=400)
    stderr, low, high = intervals.bootstrap(values, lambda v: v.mean(-1), 0, "test", repeats=2000)
    assert values.std(ddof=1) / 20 == pytest.approx(stderr, rel=0.08)
    assert low < values.mean() < high
    assert (stderr, low, high) == intervals.bootstrap(values, lambda v: v.mean(-1), 0, "test", repeats=2000)
    assert stderr != intervals.bootstrap(values, lambda v: v.mean(-1), 1, "test", repeats=2000)[0]


def test_weights_count_the_same_draws_as_resamples():
    index, counts = intervals.resamples(7, 5, 3, "a"), intervals.weights(7, 5, 3, "a")
    for row, count in zip(index, counts, strict=True):
        assert [int((row == i).sum()) for i in range(7)] == count.tolist()


def test_bootstrap_of_nothing_is_nan():
    assert np.isnan(intervals.bootstrap(np.empty(0), lambda v: v.mean(-1), 0)).all()


@pytest.mark.parametrize(("both", "gained", "lost", "n"), [(20, 12, 2, 50), (0, 5, 0, 24), (7, 0, 9, 16)])
def test_the_paired_difference_is_newcombes(both, gained, lost, n):
    """Against his formula written out: δ and ε from Wilson's ends of both shares, φ with its correction."""
    z = 1.959963984540054

    def ends(x):
        middle, half = 2 * x + z * z, z * math.sqrt(z * z + 4 * x * (1 - x / n))
        return (middle - half) / (2 * (n + z * z)), (middle + half) / (2 * (n + z * z))

    e, f, g, h = both, gained, lost, n - both - gained - lost
    p1, p2 = (e + f) / n, (e + g) / n
    (l1, u1), (l2, u2) = ends(e + f), ends(e + g)
    margins = (e + f) * (g + h) * (e + g) * (f + h)
    numerator = e * h - f * g
    numerator = numerator if numerator <= 0 else max(numerator - n / 2, 0)
    phi = numerator / math.sqrt(margins) if margins else 0
    low = p1 - p2 - math.sqrt((p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2)
    high = p1 - p2 + math.sqrt((p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2)
    assert pytest.approx((low, high), abs=1e-12) == paired_difference(both, gained, lost, n)
    assert pytest.approx((-high, -low), abs=1e-12) == paired_difference(both, lost, gained, n)


def test_the_paired_difference_of_a_published_example():
    """Newcombe 1998, table II: 20, 12, 2, 16 of 50 give .2000 with .0562 to .3292 by his method 10."""
    assert [round(end, 4) for end in paired_difference(20, 12, 2, 50)] == [0.0562, 0.3292]


def test_the_paired_difference_of_no_items_is_nan():
    assert all(math.isnan(end) for end in paired_difference(0, 0, 0, 0))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 0), (6, 0), (9, 1), (12, 3), (3, 12)])
def test_the_exact_interval_excludes_zero_when_the_exact_test_rejects(gained, lost):
    low, high = intervals.paired(gained, lost, gained + lost + 10)
    rejects = gained + lost > 0 and binomtest(gained, gained + lost).pvalue < 0.05
    assert rejects == (not low <= 0 <= high)
