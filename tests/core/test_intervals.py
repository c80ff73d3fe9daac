import numpy as np
import pytest

from mmunlearn import intervals


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
