"""Means over verdicts and groups of verdicts, against counting by hand."""

import math

import numpy as np
import pytest

from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.group_accuracy import GroupAccuracy
from mmunlearn.metrics.mean_verdict import MeanVerdict
from mmunlearn.records import Rows

VERDICTS = (
    ("1", 1.0, "yes", "a"), ("2", 0.0, "no", "a"), ("3", 1.0, "yes", "b"), ("4", 1.0, "no", "b"),
    ("5", None, None, "c"), ("6", 1.0, "yes", "c"), ("7", 1.0, "yes", None),
)  # fmt: skip
ROWS = Rows.of([dict(zip(("id", "value", "label", "tag.group"), row, strict=True)) for row in VERDICTS])


def test_mean_complement_and_label():
    found = MeanVerdict().reduce(Sight(ROWS))
    assert (pytest.approx(5 / 6), 6, 1) == (found.value, found.n, found.unscored)
    values = np.array([1, 0, 1, 1, 1, 1])
    assert values.std(ddof=1) / math.sqrt(6) == pytest.approx(found.stderr)
    assert 1 / 6 == pytest.approx(MeanVerdict({"complement": True}).reduce(Sight(ROWS)).value)
    assert 2 / 6 == pytest.approx(MeanVerdict({"label": "no"}).reduce(Sight(ROWS)).value)


def test_a_group_is_right_when_all_its_rows_are():
    """a: one wrong; b: right; c: one row unscored, so the group is; the row without a group stands alone."""
    found = GroupAccuracy().reduce(Sight(ROWS))
    assert (pytest.approx(2 / 3), 3, 1) == (found.value, found.n, found.unscored)
