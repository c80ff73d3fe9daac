"""Truth ratio against loops, in its three forms and both normalisations."""

import math

import numpy as np
import pytest

from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.truth_ratio import TruthRatio, truth_ratios
from mmunlearn.records import Rows

DRAW = np.random.default_rng(0)
NLL = [DRAW.uniform(0.5, 12.0, 4).tolist() for _ in range(15)]
COUNT = [DRAW.integers(3, 9, 4).tolist() for _ in range(15)]
FIRST = [[loss * share for loss, share in zip(row, DRAW.uniform(0, 0.5, 4), strict=True)] for row in NLL]
ROWS = Rows.of(
    [
        {"id": f"{i:02d}", "choices_nll": NLL[i], "choices_count": COUNT[i], "choices_first_nll": FIRST[i]}
        for i in range(15)
    ]
)


def slow(without_first):
    ratios = []
    for losses, counts, firsts in zip(NLL, COUNT, FIRST, strict=True):
        each = [
            (loss - without_first * first) / count for loss, count, first in zip(losses, counts, firsts, strict=True)
        ]
        ratios.append(math.exp(sum(each[1:]) / 3 - each[0]))
    return ratios


@pytest.mark.parametrize(("divide_by", "without_first"), [("tokens", 0), ("labels", 1)])
@pytest.mark.parametrize(
    ("form", "of"),
    [("raw", lambda r: r), ("forget", lambda r: min(r, 1 / r)), ("retain", lambda r: max(0.0, 1 - 1 / r))],
)
def test_equals_the_loop(form, of, divide_by, without_first):
    expected = [of(ratio) for ratio in slow(without_first)]
    found = TruthRatio({"form": form, "divide_by": divide_by}).reduce(Sight(ROWS))
    assert np.mean(expected) == pytest.approx(found.value)
    assert np.std(expected, ddof=1) / math.sqrt(15) == pytest.approx(found.stderr)


def test_rows_of_different_numbers_of_choices():
    rows = Rows.of(
        [
            {"id": "a", "choices_nll": [1.0, 3.0], "choices_count": [1, 1]},
            {"id": "b", "choices_nll": [2.0, 2.0, 4.0], "choices_count": [2, 2, 2]},
            {"id": "c", "choices_nll": [2.0], "choices_count": [2]},
        ]
    )
    ratios, unscored = truth_ratios(rows)
    assert [math.exp(2.0), math.exp(0.5)] == pytest.approx(ratios.tolist())
    assert 1 == unscored


def test_a_model_sure_of_the_truth_gives_one_without_overflow():
    rows = Rows(("a",), {"choices_nll": np.array([[0.0, 9e4]]), "choices_count": np.array([[1, 1]])})
    assert 1.0 == TruthRatio().reduce(Sight(rows)).value
    assert TruthRatio({"form": "forget"}).reduce(Sight(rows)).value < 1e-20


def test_rows_that_do_not_tell_the_first_label_are_unscored_where_it_is_left_out():
    rows = Rows.of([{"id": "a", "choices_nll": [1.0, 3.0], "choices_count": [1, 1]}])
    ratios, unscored = truth_ratios(rows, "labels")
    assert (0, 1) == (len(ratios), unscored)
