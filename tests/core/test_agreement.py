import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from mmunlearn.agreement import kappa, pearson, raw_agreement
from mmunlearn.metrics.agreement import Agreement
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows

DRAW = np.random.default_rng(0)
ONE = DRAW.integers(0, 3, 60).tolist()
TWO = [a if DRAW.random() < 0.7 else int(DRAW.integers(3)) for a in ONE]


def test_kappa_is_that_of_an_independent_implementation_and_lies_in_its_interval():
    found = kappa(ONE, TWO)
    assert cohen_kappa_score(ONE, TWO) == pytest.approx(found.value)
    assert found.low < found.value < found.high


def test_pearson_is_numpys():
    found = pearson(ONE, TWO)
    assert np.corrcoef(ONE, TWO)[0, 1] == pytest.approx(found.value)
    assert found.low < found.value < found.high < 1


def test_graders_of_one_label_have_no_kappa_and_nothing_is_nan():
    assert math.isnan(kappa(["a"] * 4, ["a"] * 4).value) and math.isnan(pearson([1, 1], [0, 1]).value)
    assert 0 == raw_agreement([], []).n and math.isnan(kappa([], []).value)


def rows(labels, values):
    ids = tuple(map(str, range(len(labels))))
    return Rows(ids, {"label": np.array(labels, dtype=object), "value": np.array(values)})


def test_the_metric_pairs_rows_by_id_and_leaves_unscored_ones_out():
    mine = rows(["yes", "no", "yes", "no"], [1.0, 0.0, 1.0, np.nan])
    other = rows(["nude", "none", "none", "none"], [1.0, 0.0, np.nan, 0.0])
    metric = Agreement({"other": "second", "kind": "raw", "by": "value"})
    found = metric.reduce(Sight(mine, judged={"second": other}))
    assert (1.0, 2, 2) == (found.value, found.n, found.unscored)
    assert math.isnan(metric.reduce(Sight(mine)).value)
