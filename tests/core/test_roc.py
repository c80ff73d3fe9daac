import numpy as np
import pytest
from scipy.stats import norm

from mmunlearn import roc


def pair(seed: int, m: int = 60, n: int = 45, decimals: int = 1):
    draw = np.random.default_rng(seed)
    return draw.normal(0.7, 1, m).round(decimals), draw.normal(0, 1, n).round(decimals)  # rounded: many ties


@pytest.mark.parametrize("seed", range(4))
def test_auc_equals_the_loop_over_pairs(seed):
    members, others = pair(seed)
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in members for b in others]
    assert sum(wins) / len(wins) == pytest.approx(roc.auc(members, others).value)


def test_auc_of_two_normals_is_known():
    draw = np.random.default_rng(5)
    found = roc.auc(draw.normal(1, 1, 40000), draw.normal(0, 1, 40000))
    assert norm.cdf(1 / np.sqrt(2)) == pytest.approx(found.value, abs=4 * found.stderr)


def test_delong_error_is_the_spread_over_repetitions():
    draw = np.random.default_rng(6)
    each = [roc.auc(draw.normal(0.5, 1, 80), draw.normal(0, 1, 120)) for _ in range(600)]
    spread = np.std([e.value for e in each])
    assert spread == pytest.approx(np.mean([e.stderr for e in each]), rel=0.1)
    true = norm.cdf(0.5 / np.sqrt(2))
    assert 0.95 == pytest.approx(np.mean([e.low <= true <= e.high for e in each]), abs=0.04)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_tpr_at_fpr_equals_the_loop_over_thresholds(seed, fpr):
    members, others = pair(seed)
    best = 0.0
    for threshold in [np.inf, *members, *others]:
        if (others >= threshold).mean() <= fpr + 1e-12:
            best = max(best, float((members >= threshold).mean()))
    assert best == pytest.approx(roc.tpr_at_fpr(members, others, fpr).value)


@pytest.mark.parametrize("seed", range(3))
def test_balanced_accuracy_equals_the_loop_over_thresholds(seed):
    members, others = pair(seed)
    best = max(((members >= t).mean() + (others < t).mean()) / 2 for t in [-np.inf, np.inf, *members, *others])
    found = roc.balanced_accuracy(members, others, 0, "test")
    assert float(best) == pytest.approx(found.value)
    assert found.low < found.value < found.high + 0.1
    assert found == roc.balanced_accuracy(members, others, 0, "test")


def test_scores_that_separate_perfectly():
    members, others = np.array([2.0, 3.0]), np.array([0.0, 1.0])
    assert (1.0, 1.0, 1.0) == (
        roc.auc(members, others).value,
        roc.tpr_at_fpr(members, others, 0.001).value,
        roc.balanced_accuracy(members, others, 0).value,
    )
