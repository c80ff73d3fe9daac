"""Min-K, Min-K++ and zlib against loops."""

import math
import zlib

import numpy as np
import pytest

from mmunlearn.records import Rows
from mmunlearn.token_signals import RATIO_WEIGHTS, lowest_mean, of_tokens, standardised, token_lists, weighted

DRAW = np.random.default_rng(1)


def slow_weighted(values, renormalise):
    """FIUBench's score as its sheet has it (vlm_fiu_mmu_safe.md 1.5)."""
    total = weight = 0.0
    for ratio, w in ((0.1, 0.3), (0.2, 0.3), (0.3, 0.2), (0.4, 0.1), (0.5, 0.1)):
        k = int(len(values) * ratio)
        if k == 0:
            continue
        lowest = sorted(values)[:k]
        total += w * math.exp(sum(lowest) / k)
        weight += w
    if not weight:
        return math.nan
    return total / weight if renormalise else total


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 7, 9, 10, 20, 33])
def test_the_weighted_score_equals_the_loop(n, renormalise):
    values = np.log(DRAW.uniform(0.01, 1.0, n))
    expected = slow_weighted(values.tolist(), renormalise)
    assert expected == pytest.approx(weighted(values, renormalise=renormalise), nan_ok=True)


def test_short_answers_lose_weight_only_without_renormalising():
    sure = np.zeros(4)  # every token certain; only the ratios .3, .4 and .5 cover one of four tokens
    assert 1.0 == pytest.approx(weighted(sure, renormalise=True))
    assert 0.4 == pytest.approx(weighted(sure, renormalise=False))
    assert 1.0 == pytest.approx(sum(RATIO_WEIGHTS.values()))


def test_the_number_of_tokens_is_rounded_down_but_not_by_a_rounding_error():
    values = np.arange(10.0)
    assert (1.0, 0.5) == (lowest_mean(values, 0.3), lowest_mean(values, 0.29))
    assert math.isnan(lowest_mean(values, 0.09))


def test_standard_scores_equal_the_loop_over_a_vocabulary():
    logits = DRAW.normal(size=(6, 9)) * 2
    wanted = DRAW.integers(0, 9, 6)
    expected, columns = [], []
    for row, token in zip(logits, wanted, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        logs = [math.log(v) for v in p]
        mu = sum(v * one for v, one in zip(p, logs, strict=True))
        variance = sum(v * (one - mu) ** 2 for v, one in zip(p, logs, strict=True))
        expected.append((logs[token] - mu) / math.sqrt(variance))
        columns.append((logs[token], mu, sum(v * one**2 for v, one in zip(p, logs, strict=True)) - mu**2))
    assert expected == pytest.approx(standardised(*np.array(columns).T).tolist())


def test_a_position_without_choice_counts_as_zero():
    assert [0.0] == standardised(np.array([0.0]), np.array([0.0]), np.array([-1e-18])).tolist()


def test_signals_of_ragged_rows_with_a_missing_one():
    tokens = [[-1.0] * 10, [-2.0] * 12, None]
    rows = Rows.of(
        [
            {"id": str(i), "token_logprob": t, "token_mu": t, "token_var": t and [1.0] * len(t), "nll": 4.0,
             "count": 2, "target": "some words"}
            for i, t in enumerate(tokens)
        ]
    )  # fmt: skip
    found = of_tokens(rows)
    assert [math.exp(-1), math.exp(-2)] == pytest.approx(found["min_k"][:2].tolist())
    assert [1.0, 1.0] == pytest.approx(found["min_k_pp"][:2].tolist())
    assert math.isnan(found["min_k"][2]) and math.isnan(found["min_k_pp"][2])
    assert [-2.0 / len(zlib.compress(b"some words"))] * 3 == pytest.approx(found["zlib_ratio"].tolist())


def test_rows_without_tokens_give_no_signal():
    assert {} == of_tokens(Rows(("a",), {"nll": np.array([1.0])}))
    assert [[], []] == [one.tolist() for one in token_lists(np.array([None, None], dtype=object))]
