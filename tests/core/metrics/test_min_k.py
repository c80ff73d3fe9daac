"""Min-K as a metric: means over rows, one ratio, the dropped first token; Min-K++ on the same rows."""

import math

import numpy as np
import pytest

from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.min_k import MinK
from mmunlearn.metrics.min_k_pp import MinKPp
from mmunlearn.records import Rows
from mmunlearn.token_signals import weighted

DRAW = np.random.default_rng(2)
TOKENS = [np.log(DRAW.uniform(0.05, 1.0, int(n))).tolist() for n in DRAW.integers(10, 20, 12)]
ROWS = Rows.of(
    [
        {"id": f"{i:02d}", "token_logprob": t, "token_mu": [-1.5] * len(t), "token_var": [0.25] * len(t)}
        for i, t in enumerate(TOKENS)
    ]
)


def test_the_default_is_the_mean_of_the_weighted_scores():
    expected = [weighted(np.array(t), renormalise=True) for t in TOKENS]
    found = MinK().reduce(Sight(ROWS))
    assert np.mean(expected) == pytest.approx(found.value)
    assert (12, 0) == (found.n, found.unscored)


def test_one_ratio_takes_the_lowest_share_and_at_least_one_token():
    expected = [math.exp(np.mean(sorted(t)[: int(0.2 * len(t))])) for t in TOKENS]
    assert np.mean(expected) == pytest.approx(MinK({"ratio": 0.2}).reduce(Sight(ROWS)).value)
    lowest = [math.exp(min(t)) for t in TOKENS]
    assert np.mean(lowest) == pytest.approx(MinK({"ratio": 0.001}).reduce(Sight(ROWS)).value)


def test_the_first_token_can_be_left_out_as_the_released_code_does():
    expected = [weighted(np.array(t[1:]), renormalise=False) for t in TOKENS]
    found = MinK({"drop_first": True, "renormalise": False}).reduce(Sight(ROWS))
    assert np.mean(expected) == pytest.approx(found.value)


def test_min_k_pp_standardises_first():
    expected = [weighted((np.array(t) + 1.5) / 0.5, renormalise=True) for t in TOKENS]
    assert np.mean(expected) == pytest.approx(MinKPp().reduce(Sight(ROWS)).value)


def test_a_row_too_short_for_any_ratio_is_unscored():
    rows = Rows.of([{"id": "a", "token_logprob": [-1.0]}, {"id": "b", "token_logprob": [-1.0] * 10}])
    found = MinK().reduce(Sight(rows))
    assert (1, 1) == (found.n, found.unscored)
    assert math.exp(-1) == pytest.approx(found.value)
