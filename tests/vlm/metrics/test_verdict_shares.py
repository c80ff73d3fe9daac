"""ASR, RR and SARR on hand-counted verdicts; counts of what could not be read."""

import math

import numpy as np
import pytest
from mmunlearn.vlm.metrics.asr import Asr
from mmunlearn.vlm.metrics.rr import Rr
from mmunlearn.vlm.metrics.sarr import Sarr
from mmunlearn.vlm.metrics.verdict_count import VerdictCount

from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows


def rows(values, labels=None, why=None):
    n = len(values)
    columns = {"value": np.array(values, dtype=float)}
    columns["label"] = np.array(labels if labels else [None] * n, dtype=object)
    columns["explanation"] = np.array(why if why else [""] * n, dtype=object)
    return Sight(Rows(tuple(f"{i:02d}" for i in range(n)), columns))


@pytest.mark.parametrize(("metric", "expected"), [(Asr, 0.75), (Rr, 0.75), (Sarr, 0.25)])
def test_share_leaves_unscored_rows_out_and_counts_them(metric, expected):
    found = metric().reduce(rows([1, 1, 1, 0, math.nan]))
    assert (expected, 4, 1) == (found.value, found.n, found.unscored)
    assert math.sqrt(0.75 * 0.25 / 4) == pytest.approx(found.stderr)


@pytest.mark.parametrize(("metric", "expected"), [(Asr, 0.6), (Rr, 0.6), (Sarr, 0.2)])
def test_counted_keeps_them_in_the_denominator_alone(metric, expected):
    """Five questions, one not judged: SafeEraser's code divides three unsafe (or one refusal) by five."""
    found = metric({"unscored": "counted"}).reduce(rows([1, 1, 1, 0, math.nan]))
    assert (pytest.approx(expected), 5, 0) == (found.value, found.n, found.unscored)


@pytest.mark.parametrize("metric", [Asr, Rr, Sarr])
def test_nothing_scored_has_no_value(metric):
    for settings in ({}, {"unscored": "counted"}):
        found = metric(settings).reduce(rows([math.nan, math.nan]))
        assert math.isnan(found.value) and (0, 2) == (found.n, found.unscored)


def test_counts_tell_unread_replies_from_judges_that_did_not_answer():
    sight = rows(
        [1, 0, math.nan, math.nan, math.nan],
        ["unsafe", "safe", None, None, None],
        ["", "", "not understood", "HTTP 500 after 4 tries", "no text"],
    )
    counts = {
        label: VerdictCount({"label": label}).reduce(sight).value for label in ("unsafe", "safe", "unparsed", "error")
    }
    assert {"unsafe": 1, "safe": 1, "unparsed": 2, "error": 1} == counts
    assert 5 == sum(counts.values())
