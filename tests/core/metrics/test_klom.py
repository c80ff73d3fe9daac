import math

import numpy as np
import pytest

from mmunlearn.bank import Bank
from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.klom import Klom, klom
from mmunlearn.records import Rows


def slow(u: np.ndarray, r: np.ndarray, *, reference: bool, bins: int = 20) -> float:
    u, r = [max(-100.0, min(100.0, v)) for v in u], [max(-100.0, min(100.0, v)) for v in r]
    low, high = min(*u, *r), max(*u, *r)
    if low == high:
        return 0.0
    edges = np.linspace(low, high, bins + 1)

    def shares(values: list[float]) -> list[float]:
        counts = [sum(edges[b] <= v < edges[b + 1] for v in values) for b in range(bins)]
        if not reference:
            counts[-1] += sum(v == high for v in values)
        return [c / sum(counts) for c in counts]

    p, q = shares(u), shares(r)
    q = [max(b, 1e-5) if a > 0 else b for a, b in zip(p, q, strict=True)]
    return sum(a * math.log(a / (b / sum(q))) for a, b in zip(p, q, strict=True) if a > 0)


@pytest.mark.parametrize("reference", [False, True])
def test_klom_equals_loops_over_bins(reference):
    draw = np.random.default_rng(1)
    u, r = draw.normal(0, 2, (12, 30)), draw.normal(draw.normal(0, 2, (12, 1)), 2, (12, 30))
    u[0, :5], r[1, :4] = 150.0, -300.0  # clipped
    expected = [slow(a, b, reference=reference) for a, b in zip(u, r, strict=True)]
    np.testing.assert_allclose(expected, klom(u, r, reference=reference), atol=1e-12)


def test_equal_constant_margins_are_no_distance():
    assert [0.0] == klom(np.full((1, 4), 2.0), np.full((1, 4), 2.0)).tolist()


def test_metric_gives_mean_and_percentiles(tmp_path):
    draw = np.random.default_rng(2)
    u, r = draw.normal(0, 1, (30, 9)), draw.normal(0.5, 1, (30, 9))
    ids, member = tuple("abcdefghi"), np.zeros((30, 9), dtype=bool)
    for name, margins in (("u", u), ("r", r)):
        Bank(ids, {"rescaled_logit": margins}, member).save(tmp_path / name)
    banks = {"unlearned": str(tmp_path / "u"), "retrained": str(tmp_path / "r")}
    sight, each = Sight(Rows(ids, {})), klom(u.T, r.T)
    assert float(each.mean()) == pytest.approx(Klom(banks).reduce(sight).value)
    assert float(np.median(each)) == pytest.approx(Klom(banks | {"percentile": 50}).reduce(sight).value)
