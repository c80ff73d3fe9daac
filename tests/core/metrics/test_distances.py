"""Distances between outputs of two models: JS divergence, retrain-free JS, activation distance, ZRF."""

import math

import numpy as np
import pytest

from mmunlearn import divergence
from mmunlearn.metrics.activation_distance import ActivationDistance
from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.js_divergence import JsDivergence
from mmunlearn.metrics.rf_js import RfJs
from mmunlearn.metrics.zrf import Zrf, zrf
from mmunlearn.records import Rows


def kl(p, q) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def js(p, q) -> float:
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (kl(p, middle) + kl(q, middle)) / 2


def swapped(p, q) -> float:
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (kl(middle, p) + kl(middle, q)) / 2


def softmax(z) -> list[float]:
    weights = [math.exp(v) for v in z]
    return [w / sum(weights) for w in weights]


def outputs(n: int, seed: int, classes: int = 4) -> Rows:
    draw = np.random.default_rng(seed)
    logits = 2 * draw.normal(size=(n, 1, classes))
    target = np.random.default_rng(99).integers(0, classes, (n, 1))
    return Rows(tuple(f"{i:03d}" for i in range(n)), {"logits": logits, "target": target})


def test_js_is_the_mean_over_examples_aligned_by_id():
    mine, gold = outputs(15, 1), outputs(15, 2)
    p, q = ([softmax(z) for z in r["logits"][:, 0]] for r in (mine, gold))
    expected = [js(a, b) for a, b in zip(p, q, strict=True)]
    found = JsDivergence().reduce(Sight(mine, reference=gold.take(range(14, -1, -1))))
    assert sum(expected) / 15 == pytest.approx(found.value)
    assert float(np.std(expected, ddof=1) / math.sqrt(15)) == pytest.approx(found.stderr)


def test_js_of_label_vectors_is_the_mean_of_binary_divergences():
    draw = np.random.default_rng(3)
    z = draw.normal(size=(2, 6, 3))
    rows = [Rows(tuple("abcdef"), {"logits": v[..., None], "target": np.zeros((6, 3), dtype=int)}) for v in z]
    sigmoid = 1 / (1 + np.exp(-z))
    expected = np.mean([js((1 - a, a), (1 - b, b)) for a, b in zip(*sigmoid.reshape(2, -1), strict=True)])
    assert float(expected) == pytest.approx(JsDivergence().reduce(Sight(rows[0], reference=rows[1])).value)


def test_lotus_form_is_the_swapped_divergence_of_the_whole_matrix_divided_by_n_once_more():
    """The sheet: value = (1/n) · mean over examples of the swapped divergence; six digits."""
    mine, gold = outputs(20, 4), outputs(20, 5)
    p, q = ([softmax(z) for z in r["logits"][:, 0]] for r in (mine, gold))
    expected = np.mean([swapped(a, b) for a, b in zip(p, q, strict=True)]) / 20
    found = JsDivergence({"form": "lotus"}).reduce(Sight(mine, reference=gold)).value
    assert float(expected) == pytest.approx(found, abs=1e-6)
    assert found == round(found, 6)


def test_retrain_free_divergence_by_class():
    forget, original = outputs(30, 6), outputs(25, 7)
    each, reversed_ = [], []
    for c in sorted(set(forget["target"][:, 0]) & set(original["target"][:, 0])):
        means = [
            np.mean([softmax(z) for z in r["logits"][r["target"][:, 0] == c, 0]], axis=0) for r in (forget, original)
        ]
        each.append(js(*means))
        reversed_.append(swapped(*means))
    sight = Sight(forget, against=original, original_against=original)
    assert sum(each) / len(each) == pytest.approx(RfJs().reduce(sight).value)
    lotus = RfJs({"form": "lotus"}).reduce(sight).value
    assert sum(reversed_) / len(each) ** 2 == pytest.approx(lotus, abs=1e-6)


def test_activation_distance_by_loops():
    mine, gold = outputs(12, 8), outputs(12, 9)
    each = [math.dist(softmax(a), softmax(b)) for a, b in zip(mine["logits"][:, 0], gold["logits"][:, 0], strict=True)]
    assert sum(each) / 12 == pytest.approx(ActivationDistance().reduce(Sight(mine, reference=gold)).value)


def test_zrf_spans_zero_to_one_and_its_reference_form_does_not():
    certain, uniform = np.tile([1.0, 0.0], (8, 1, 1)), np.full((8, 1, 2), 0.5)
    other = certain[..., ::-1]
    assert 1.0 == zrf(uniform, uniform)
    assert 0.0 == pytest.approx(zrf(certain, other))
    soft = np.full((8, 1, 10), 0.02)
    soft[..., 0] = 0.82
    flat = np.full((8, 1, 10), 0.1)
    assert 1 - js(soft[0, 0], flat[0, 0]) / math.log(2) == pytest.approx(zrf(soft, flat))
    assert 1 - swapped(soft[0, 0], flat[0, 0]) / 10 == pytest.approx(zrf(soft, flat, "reference"))
    assert zrf(soft, flat, "reference") > 0.95 > zrf(soft, flat)


def test_zrf_uses_the_incompetent_model_s_answers_where_rows_carry_them():
    rows, teacher = outputs(10, 10), outputs(10, 11)
    carried = rows.with_column("incompetent_logits", teacher["logits"])
    p, q = (np.asarray([softmax(z) for z in r["logits"][:, 0]]) for r in (rows, teacher))
    expected = 1 - np.mean([js(a, b) for a, b in zip(p, q, strict=True)]) / math.log(2)
    assert float(expected) == pytest.approx(Zrf().reduce(Sight(carried)).value)
    assert Zrf().reduce(Sight(rows)).value != pytest.approx(expected, abs=1e-3)


def test_js_agrees_with_scipy():
    from scipy.spatial.distance import jensenshannon

    draw = np.random.default_rng(12)
    p, q = draw.dirichlet(np.ones(5), 9), draw.dirichlet(np.ones(5), 9)
    np.testing.assert_allclose(jensenshannon(p, q, axis=1) ** 2, divergence.js(p, q))
