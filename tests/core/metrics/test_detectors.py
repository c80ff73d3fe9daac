"""No-op and collapse detectors, gaps to the retrained model, AUS, accuracies."""

import numpy as np
import pytest

from mmunlearn.metrics.aus import Aus
from mmunlearn.metrics.average_gap import AverageGap
from mmunlearn.metrics.base import Sight, Value, aligned, scored
from mmunlearn.metrics.collapse import Collapse, spread
from mmunlearn.metrics.gap import Gap
from mmunlearn.metrics.mean_nll import MeanNll
from mmunlearn.metrics.mia import Mia
from mmunlearn.metrics.noop import Noop, change
from mmunlearn.metrics.top1 import Top1
from mmunlearn.metrics.top2 import Top2
from mmunlearn.records import Rows


def answers(logits: np.ndarray, target: np.ndarray) -> Rows:
    return Rows(tuple(f"{i:03d}" for i in range(len(logits))), {"logits": logits, "target": target})


def model(seed: int, n: int = 80, strength: float = 1.0) -> Rows:
    target = np.random.default_rng(0).integers(0, 5, (n, 1))
    logits = np.random.default_rng(seed).normal(size=(n, 1, 5)) + strength * np.eye(5)[target]
    return answers(logits, target)


def test_no_op_is_flagged_also_after_rounding_and_a_change_is_not():
    before = model(1)
    same = before.with_column("logits", before["logits"].astype(np.float32).astype(float))
    assert 1.0 == Noop().reduce(Sight(same, original=before)).value
    nudged = before.with_column("logits", before["logits"] + 1e-3 * np.random.default_rng(2).normal(size=(80, 1, 5)))
    assert 1.0 == Noop().reduce(Sight(nudged, original=before)).value
    assert 0.0 == Noop().reduce(Sight(model(3), original=before)).value


def test_a_method_that_shifts_confidence_but_no_prediction_is_no_no_op():
    before = model(4)
    assert 0.0 == Noop().reduce(Sight(before.with_column("logits", before["logits"] / 2), original=before)).value


def test_change_by_loops():
    one, two = model(5), model(6)
    a, b = one["logits"][:, 0], two["logits"][:, 0]
    p, q = (np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in (a, b))
    found = change(one, two)
    assert np.abs(a - b).max() == pytest.approx(found.max_logit_change)
    assert np.mean([i.argmax() != j.argmax() for i, j in zip(a, b, strict=True)]) == pytest.approx(found.changed_share)
    assert np.mean([abs(i - j).sum() / 2 for i, j in zip(p, q, strict=True)]) == pytest.approx(found.probability_shift)
    shift = Noop({"report": "probability_shift"}).reduce(Sight(one, original=two)).value
    assert shift == found.probability_shift


def test_collapse_to_one_class_is_flagged_and_a_weak_model_is_not():
    target = np.arange(60)[:, None] % 5
    constant = np.tile([0.0, 3.0, 0.0, 0.0, 0.0], (60, 1, 1))
    assert 1.0 == Collapse().reduce(Sight(answers(constant, target))).value
    assert 0.0 == Collapse().reduce(Sight(model(7, strength=0.0))).value
    share, entropy = spread(answers(constant, target))[0][:2]
    assert (1.0, 0.0) == (share, abs(entropy))


def test_always_answering_the_only_class_is_no_collapse():
    constant = np.tile([3.0, 0.0], (20, 1, 1))
    assert 0.0 == Collapse().reduce(Sight(answers(constant, np.zeros((20, 1))))).value


def test_label_vectors_collapse_when_every_label_does():
    target = np.random.default_rng(8).integers(0, 2, (100, 3))
    constant = np.tile([[2.0], [-1.0], [4.0]], (100, 1, 1))
    assert 1.0 == Collapse().reduce(Sight(answers(constant, target))).value
    one_alive = constant.copy()
    one_alive[:, 1, 0] = np.where(target[:, 1] > 0, 1.0, -1.0)
    assert 0.0 == Collapse().reduce(Sight(answers(one_alive, target))).value


def test_gap_measures_the_same_metric_on_both_models():
    mine, gold = model(9, strength=3.0), model(10)
    expected = abs(Top1().reduce(Sight(mine)).value - Top1().reduce(Sight(gold)).value)
    found = Gap().reduce(Sight(mine, reference=gold))
    assert expected == found.value > 0
    assert found.stderr > Top1().reduce(Sight(mine)).stderr


def test_gap_of_an_attack_uses_both_of_the_retrained_model_s_splits():
    draw = np.random.default_rng(11)
    ids = tuple(f"{i:03d}" for i in range(50))
    mine, unseen, gold, gold_unseen = (Rows(ids, {"nll": draw.gamma(1, s, 50)}) for s in (0.3, 2, 1.5, 2))
    found = Gap({"metric": "mia"}).reduce(Sight(mine, unseen, gold, gold_unseen)).value
    assert abs(Mia().reduce(Sight(mine, unseen)).value - Mia().reduce(Sight(gold, gold_unseen)).value) == found


def test_average_gap_reproduces_salun_s_table_row():
    """CIFAR-10, 10 % random, RL 7.61/99.67/92.83/37.36 against retrain 5.24/100/94.26/12.88: arithmetic only."""
    row, gold = np.array([7.61, 99.67, 92.83, 37.36]), np.array([5.24, 100, 94.26, 12.88])
    names = AverageGap().config.gaps
    cells = {name: Value(float(abs(a - b)), 1) for name, a, b in zip(names, row, gold, strict=True)}
    assert 7.15 == pytest.approx(AverageGap().reduce(Sight(Rows((), {}), cells=cells)).value, abs=0.005)
    assert np.isnan(AverageGap().reduce(Sight(Rows((), {}))).value)
    assert names == AverageGap().needs_cells


def test_aus_by_hand():
    target = np.zeros((10, 1))
    before, after = (np.tile([1.0, 0.0], (10, 1, 1)) for _ in range(2))
    before[8:], after[7:] = -before[8:], -after[7:]  # accuracies .8 and .7
    sight = Sight(answers(after, target), original=answers(before, target), cells={"forget/top1": Value(0.5, 9)})
    assert (1 - 0.1) / (1 + 0.2) == pytest.approx(Aus().reduce(sight).value)
    assert (1 - 0.1) / (1 + 0.5) == pytest.approx(Aus({"target": "zero"}).reduce(sight).value)


def test_top2_counts_the_runner_up_by_loops():
    rows = model(12)
    hits = [int(t in np.argsort(z)[-2:]) for z, t in zip(rows["logits"][:, 0], rows["target"][:, 0], strict=True)]
    found = Top2().reduce(Sight(rows))
    assert np.mean(hits) == pytest.approx(found.value)
    assert np.std(hits, ddof=1) / np.sqrt(80) == pytest.approx(found.stderr)
    assert Top1().reduce(Sight(rows)).value < found.value


def test_mean_nll_counts_items():
    rows = Rows(("a", "b", "c"), {"nll": np.array([3.0, 4.0, np.nan]), "count": np.array([3, 1, 1])})
    found = MeanNll().reduce(Sight(rows))
    assert (2.5, 2, 1) == (found.value, found.n, found.unscored)


def test_a_verdict_that_is_unscored_leaves_the_row_out():
    rows = Rows(("a", "b"), {"nll": np.array([1.0, 2.0]), "value": np.array([np.nan, 1.0])})
    kept, left_out = scored(rows, "nll")
    assert (("b",), 1) == (kept.ids, left_out)


def test_aligned_keeps_shared_ids_sorted():
    one, two = (Rows(ids, {"nll": np.arange(3.0)}) for ids in (("c", "a", "b"), ("b", "d", "c")))
    left, right = aligned(one, two)
    assert ("b", "c") == left.ids == right.ids
    assert ([2.0, 0.0], [0.0, 2.0]) == (left["nll"].tolist(), right["nll"].tolist())
