"""Metrics of one signal in two samples: AUC, TPR at FPR, KS, PrivLeak."""

import numpy as np
import pytest

from mmunlearn.errors import UserError
from mmunlearn.metrics.auc import Auc
from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.ks import Ks
from mmunlearn.metrics.privleak import Privleak
from mmunlearn.metrics.tpr_at_fpr import TprAtFpr
from mmunlearn.records import Rows


def rows_of(losses, name: str = "r") -> Rows:
    return Rows(tuple(f"{name}{i:03d}" for i in range(len(losses))), {"nll": np.asarray(losses, dtype=float)})


def drawn(mean: float, n: int, seed: int) -> Rows:
    return rows_of(np.random.default_rng(seed).gamma(2, mean / 2, n))


def test_ks_is_the_largest_gap_of_the_distribution_functions():
    one, two = drawn(1.0, 40, 1), drawn(2.0, 55, 2)
    gaps = [abs((one["nll"] <= t).mean() - (two["nll"] <= t).mean()) for t in (*one["nll"], *two["nll"])]
    assert max(gaps) == pytest.approx(Ks().reduce(Sight(one, two)).value)
    versus = Ks({"versus": "reference"}).reduce(Sight(one, reference=two))
    assert max(gaps) == pytest.approx(versus.value)


def test_ks_p_value_is_one_for_equal_samples_and_small_for_far_ones():
    report = Ks({"report": "p_value"})
    one = drawn(1.0, 60, 3)
    assert 1.0 == report.reduce(Sight(one, one)).value
    assert report.reduce(Sight(one, rows_of(one["nll"] + 9))).value < 1e-10


def test_ks_asks_for_what_it_compares_with():
    assert (True, False) == (Ks().needs_against, Ks().needs_reference)
    other = Ks({"versus": "reference"})
    assert (False, True) == (other.needs_against, other.needs_reference)


def test_privleak_by_loops_in_muse_s_sense():
    forget, held, gold, gold_held = (drawn(m, 30, i) for i, m in enumerate((0.5, 2.0, 1.6, 2.0)))

    def outside(one: Rows, two: Rows) -> float:  # held-out text scores higher log-likelihood than forget text
        pairs = [(-b > -a) + 0.5 * (a == b) for a in one["nll"] for b in two["nll"]]
        return float(np.mean(pairs))

    expected = (outside(forget, held) - outside(gold, gold_held)) / outside(gold, gold_held)
    found = Privleak().reduce(Sight(forget, held, gold, gold_held)).value
    assert expected == pytest.approx(found)
    assert found < 0  # still member-like
    assert 0.0 == Privleak().reduce(Sight(gold, gold_held, gold, gold_held)).value


def test_over_unlearned_is_above_zero():
    assert Privleak().reduce(Sight(drawn(9.0, 30, 5), drawn(2, 30, 6), drawn(2, 30, 7), drawn(2, 30, 8))).value > 0.5


def test_auc_and_tpr_of_memorised_rows():
    forget, unseen = rows_of(np.linspace(0, 1, 50)), rows_of(np.linspace(0.9, 3, 50))
    assert Auc().reduce(Sight(forget, unseen)).value > 0.95
    found = TprAtFpr({"fpr": 0.02}).reduce(Sight(forget, unseen))
    assert found.low < found.value < found.high
    assert float((forget["nll"] < unseen["nll"][1]).mean()) == found.value


def test_a_signal_that_rows_do_not_allow_is_named():
    with pytest.raises(UserError, match="the rows allow no signal 'entropy'"):
        Auc({"signal": "entropy"}).reduce(Sight(rows_of([1.0]), rows_of([2.0])))


def test_rows_without_a_loss_are_left_out_and_counted():
    found = Auc().reduce(Sight(rows_of([0.1, np.nan, 0.3]), rows_of([1.0, 2.0])))
    assert (1.0, 4, 1) == (found.value, found.n, found.unscored)
