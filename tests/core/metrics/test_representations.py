"""Features of two models: CKA, k-NN transfer, linear probe, and the scores of ours that combine them."""

import numpy as np
import pytest

from mmunlearn.metrics.agl import Agl
from mmunlearn.metrics.agr import Agr
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.metrics.cka import Cka, batch_cka, linear_cka
from mmunlearn.metrics.h_lr import HLr
from mmunlearn.metrics.knn_transfer import KnnTransfer, cosine_vote
from mmunlearn.metrics.linear_probe import LinearProbe
from mmunlearn.records import Rows


def hsic_cka(x: np.ndarray, y: np.ndarray) -> float:
    """The kernel form with its n × n matrices."""
    n = len(x)
    h = np.eye(n) - np.ones((n, n)) / n
    k, m = h @ x @ x.T @ h, h @ y @ y.T @ h
    return float((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def features(n: int, widths: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    shared = draw.normal(size=(n, 3))
    x, y = (shared @ draw.normal(size=(3, w)) + 1.5 * draw.normal(size=(n, w)) + 5 for w in widths)
    return x, y


def test_feature_form_equals_the_kernel_form():
    x, y = features(48, (12, 9), 1)
    assert hsic_cka(x, y) == pytest.approx(linear_cka(x, y))


def test_mini_batches_are_biased_upwards_and_short_ones_weigh_alike():
    x, y = features(48, (12, 9), 2)
    expected = np.mean([hsic_cka(x[i : i + 20], y[i : i + 20]) for i in (0, 20, 40)])
    assert float(expected) == pytest.approx(batch_cka(x, y, 20))
    assert batch_cka(x, y, 20) > batch_cka(x, y, 24) > linear_cka(x, y)


def test_cka_ignores_rotation_and_scale_and_aligns_ids():
    x, _ = features(30, (6, 6), 3)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(6, 6)))[0]
    ids = tuple(f"{i:02d}" for i in range(30))
    mine, theirs = Rows(ids, {"features": x}), Rows(ids, {"features": 3 * x @ turn})
    sight = Sight(mine, reference=theirs.take(range(29, -1, -1)), original=mine)
    assert 1.0 == pytest.approx(Cka().reduce(sight).value)
    assert 1.0 == pytest.approx(Cka({"versus": "original", "reference": True, "batch": 7}).reduce(sight).value)


def test_constant_features_have_no_cka():
    assert np.isnan(linear_cka(np.ones((5, 2)), np.random.default_rng(0).normal(size=(5, 2))))


def labelled(n: int, seed: int) -> Rows:
    draw = np.random.default_rng(seed)
    target = draw.integers(0, 4, n)
    x = 1.2 * np.eye(4)[target] @ draw.normal(size=(4, 6)) + draw.normal(size=(n, 6))
    return Rows(tuple(f"{i:04d}" for i in range(n)), {"features": x, "target": target[:, None]})


def test_votes_are_scikit_learn_s_in_chunks_of_any_size():
    from sklearn.neighbors import KNeighborsClassifier

    rows = labelled(300, 5)
    x, y = rows["features"], rows["target"][:, 0]
    expected = KNeighborsClassifier(n_neighbors=5, metric="cosine").fit(x[:240], y[:240]).predict(x[240:])
    for chunk in (7, 1024):
        np.testing.assert_array_equal(expected, cosine_vote(x[:240], y[:240], x[240:], 5, chunk))


def test_transfer_uses_torch_s_division():
    import torch

    rows = labelled(203, 6)
    parts = torch.utils.data.random_split(range(203), [162, 41], generator=torch.Generator().manual_seed(2))
    fit, test = (np.asarray(part.indices) for part in parts)
    x, y = rows["features"], rows["target"][:, 0]
    expected = float((cosine_vote(x[fit], y[fit], x[test], 5) == y[test]).mean())
    found = KnnTransfer().reduce(Sight(rows))
    assert (expected, 41) == (found.value, found.n)


def test_probe_reads_what_a_neighbour_vote_reads_and_nothing_from_noise():
    rows = labelled(400, 7)
    noise = rows.with_column("features", np.random.default_rng(8).normal(size=(400, 6)))
    assert LinearProbe().reduce(Sight(rows)).value > 0.7
    assert LinearProbe().reduce(Sight(noise)).value < 0.45
    one_class = rows.with_column("target", np.zeros((400, 1)))
    assert 1.0 == LinearProbe().reduce(Sight(one_class)).value


def test_unified_scores_by_hand():
    cells = {
        "forget/gap_top1": Value(0.30, 9), "retain/gap_top1": Value(0.05, 9), "test/gap_top1": Value(0.10, 9),
        "forget/gap_knn_transfer": Value(0.2, 9), "forget/cka": Value(0.9, 9),
    }  # fmt: skip
    nothing = Rows((), {})
    agl, agr = (metric.reduce(Sight(nothing, cells=cells)) for metric in (Agl(), Agr()))
    assert (0.85, 0.85) == (pytest.approx(agl.value), pytest.approx(agr.value))
    cells |= {"all/agl": agl, "all/agr": Value(0.5, 2)}
    assert 2 * 0.85 * 0.5 / 1.35 == pytest.approx(HLr().reduce(Sight(nothing, cells=cells)).value)
    assert np.isnan(HLr().reduce(Sight(nothing)).value)
