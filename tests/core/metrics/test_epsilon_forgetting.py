import math

import numpy as np
import pytest

from mmunlearn.bank import Bank
from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.epsilon_forgetting import EpsilonForgetting, epsilons, final_score, forgetting_quality, points
from mmunlearn.records import Rows

DELTA = 1e-5


def attack_epsilon(fpr: float, fnr: float) -> float | None:
    """One attack by the rule: perfect is infinite, one-sided zero is discarded."""
    if fpr == 0 and fnr == 0:
        return math.inf
    if fpr == 0 or fnr == 0:
        return None
    sides = [math.log(1 - DELTA - a) - math.log(b) for a, b in ((fpr, fnr), (fnr, fpr)) if a < 1 - DELTA]
    return max([0.0, *sides])


def slow_epsilon(u: np.ndarray, r: np.ndarray, grid: str) -> float:
    """The rule of the challenge with every attack applied to every model (no sorting, no counting)."""
    if min(np.ptp(u), np.ptp(r)) / max(np.ptp(u), np.ptp(r)) < 0.01:
        return 50.0
    pos, neg = (r, u) if np.median(r) > np.median(u) else (u, r)
    pooled = np.concatenate([u, r])
    found = []
    if grid == "reference":
        taus = np.linspace(pooled.min(), pooled.max(), math.ceil(100 * np.ptp(pooled))).astype(np.float32)
    else:
        taus = pooled
    for tau in taus:
        found.append(attack_epsilon(float((neg >= tau).mean()), float((pos < tau).mean())))
    narrow, wide = (neg, pos) if np.ptp(pos) >= np.ptp(neg) else (pos, neg)
    if grid == "reference":
        width = np.ptp(narrow)
        rights = np.linspace(
            narrow.min() + width - 2, narrow.max() + 2, math.ceil(100 * (narrow.max() - narrow.min() - width + 4))
        )
        pairs = [(left, right) for right in rights for left in np.linspace(right - width - 2, right - width + 2, 400)]
    else:
        pairs = [(left, right) for left in pooled for right in pooled]
    left, right = np.asarray(pairs).T
    inside = {
        name: ((left[:, None] <= s) & (s <= right[:, None])).mean(1) for name, s in (("narrow", narrow), ("wide", wide))
    }
    rates = {(float(fpr), float(1 - tpr)) for fpr, tpr in zip(inside["wide"], inside["narrow"], strict=True)}
    found += [attack_epsilon(fpr, fnr) for fpr, fnr in rates]
    return min(50.0, max([e for e in found if e is not None], default=0.0))


def cases() -> list[tuple[np.ndarray, np.ndarray]]:
    draw, n = np.random.default_rng(11), 16
    made = [
        (draw.normal(0, 1, n), draw.normal(shift, scale, n)) for shift, scale in ((0, 1), (1, 1), (0, 3), (-2, 0.5))
    ]
    made.append((draw.normal(0, 0.001, n), draw.normal(0, 1, n)))  # degenerate: the cap
    made.append((draw.normal(0, 1, n), draw.normal(30, 1, n)))  # perfectly apart
    made.append((draw.normal(0, 1, n).round(1), draw.normal(0.5, 1, n).round(1)))  # ties
    return made


@pytest.mark.parametrize("case", range(7))
@pytest.mark.parametrize("grid", ["reference", "exact"])
def test_epsilon_equals_the_rule_applied_attack_by_attack(case, grid):
    u, r = cases()[case]
    assert slow_epsilon(u, r, grid) == pytest.approx(float(epsilons(u[None], r[None], grid)[0]), abs=1e-9)


def test_exact_attacks_find_at_least_what_the_grid_finds():
    draw = np.random.default_rng(12)
    u, r = draw.normal(0, 1, (20, 24)), draw.normal(draw.normal(0, 1, (20, 1)), 1.5, (20, 24))
    grid, exact = epsilons(u, r, "reference"), epsilons(u, r, "exact")
    assert (exact >= grid - 1e-9).all()


def test_unequal_numbers_of_models():
    draw = np.random.default_rng(13)
    for shift in (1.0, -1.0):
        u, r = draw.normal(shift, 1, 9), draw.normal(0, 1, 14)
        assert slow_epsilon(u, r, "exact") == pytest.approx(float(epsilons(u[None], r[None])[0]))


def test_constant_samples():
    same, other = np.zeros((1, 5)), np.ones((1, 5))
    assert [0.0] == epsilons(same, same).tolist()
    assert [50.0] == epsilons(same, other).tolist()


def test_points_of_512_models_halve_every_half_and_end_at_seven():
    eps = np.array([0.0, 0.49, 0.5, 1.0, 6.5, 6.99, 7.0, 50.0])
    assert [1, 1, 0.5, 0.25, 2.0**-13, 2.0**-13, 0, 0] == points(eps, 512).tolist()
    assert (1 + 0.5 + 0) / 3 == pytest.approx(forgetting_quality(np.array([0.2, 0.6, 9.0]), 512))


def test_final_score_multiplies_the_ratios_of_mean_accuracies():
    retain, test = (np.array([0.8, 1.0]), np.array([1.0, 1.0])), (np.array([0.5]), np.array([0.6, 0.4]))
    assert 0.5 * 0.9 * 1.0 == pytest.approx(final_score(0.5, retain, test))


def test_metric_reads_two_banks_by_id(tmp_path):
    draw = np.random.default_rng(14)
    u, r = draw.normal(0, 1, (12, 3)), draw.normal(0.5, 1, (12, 3))
    member = np.zeros((12, 3), dtype=bool)
    Bank(("a", "b", "c"), {"rescaled_logit": u}, member).save(tmp_path / "u")
    Bank(("c", "b", "a"), {"rescaled_logit": r[:, ::-1]}, member).save(tmp_path / "r")
    metric = EpsilonForgetting({"unlearned": str(tmp_path / "u"), "retrained": str(tmp_path / "r")})
    found = metric.reduce(Sight(Rows(("c", "a"), {})))
    assert forgetting_quality(epsilons(u[:, [0, 2]].T, r[:, [0, 2]].T), 12) == pytest.approx(found.value)
    assert 2 == found.n
    with pytest.raises(UserError, match=r"epsilon_forgetting\.unlearned: needs a bank"):
        EpsilonForgetting().reduce(Sight(Rows(("a",), {})))
