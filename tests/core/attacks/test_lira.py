import numpy as np
import pytest
from scipy.stats import norm

from mmunlearn.attacks.lira import Lira, lira, masked_median
from mmunlearn.bank import Bank
from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows


def gaussian_bank(models: int, examples: int, seed: int = 0, *, shift: float = 1.5, hardness: float = 3.0):
    """phi = hardness of the example + shift if member + unit noise; the target's members are the first half."""
    draw = np.random.default_rng(seed)
    base = hardness * draw.normal(size=examples)
    member = draw.random((models, examples)).argsort(0) < models // 2  # each example is in for half of the models
    phi = base + shift * member + draw.normal(size=member.shape)
    inside = np.arange(examples) < examples // 2
    target = base + shift * inside + draw.normal(size=examples)
    ids = tuple(f"{i:05d}" for i in range(examples))
    return Bank(ids, {"rescaled_logit": phi}, member), target, inside


def rows_of(ids, phi) -> Rows:
    logits = np.stack([phi, np.zeros_like(phi)], -1)[:, None]
    return Rows(tuple(ids), {"logits": logits, "target": np.zeros((len(phi), 1))})


def slow(target: np.ndarray, bank: Bank, *, offline: bool, variance: str, median: bool) -> list[float]:
    phi, centre = bank.signal("rescaled_logit"), np.median if median else np.mean
    sides = {}
    for side in (True, False):
        groups = [phi[bank.member[:, i] == side, i] for i in range(len(bank.ids))]
        squares = sum(((g - g.mean()) ** 2).sum() for g in groups)
        pooled = np.sqrt(squares / sum(len(g) - 1 for g in groups))
        total = np.concatenate(groups).std()
        sides[side] = [
            (centre(g), {"example": g.std(ddof=1), "global": pooled, "total": total}[variance]) for g in groups
        ]
    scores = []
    for i, observed in enumerate(target):
        out = norm(*sides[False][i])
        scores.append(
            -out.logsf(observed) if offline else norm(*sides[True][i]).logpdf(observed) - out.logpdf(observed)
        )
    return scores


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("variance", ["example", "global", "total"])
@pytest.mark.parametrize("centre", ["mean", "median"])
def test_scores_equal_loops_over_examples(offline, variance, centre):
    bank, target, _ = gaussian_bank(11, 20)
    found = lira(target, bank, Lira.Config(offline=offline, variance=variance, centre=centre))
    expected = slow(target, bank, offline=offline, variance=variance, median=centre == "median")
    np.testing.assert_allclose(expected, found, rtol=1e-9)


def test_auc_on_two_gaussians_is_the_known_one_and_above_a_single_threshold(tmp_path):
    bank, target, inside = gaussian_bank(128, 6000)
    bank.save(tmp_path / "bank")
    ids = np.asarray(bank.ids)
    sight = Sight(rows_of(ids[inside], target[inside]), rows_of(ids[~inside], target[~inside]))
    cells = Lira({"bank": str(tmp_path / "bank")}).measure(sight, 0)
    # 64 models a side: the fitted means add a 64th of the variance twice, which costs under 0.005 of AUC
    assert norm.cdf(1.5 / np.sqrt(2)) == pytest.approx(cells["auc"].value, abs=0.015)
    assert cells["auc"].low < cells["auc"].value < cells["auc"].high
    from mmunlearn.roc import auc

    single = auc(target[inside], target[~inside]).value
    assert norm.cdf(1.5 / np.sqrt(2 * 10)) == pytest.approx(single, abs=0.02)
    assert 6000 == cells["auc"].n


def test_both_sides_share_one_pooled_deviation(tmp_path):
    bank, target, inside = gaussian_bank(8, 40)
    noisy = bank.signal("rescaled_logit") * np.where(inside, 1.0, 3.0)  # the others' models spread three times as far
    bank = Bank(bank.ids, {"rescaled_logit": noisy}, bank.member)
    bank.save(tmp_path / "bank")
    ids = np.asarray(bank.ids)
    sight = Sight(rows_of(ids[inside], target[inside]), rows_of(ids[~inside], target[~inside]))
    scores = lira(target, bank, Lira.Config())
    from mmunlearn.roc import auc

    expected = auc(scores[inside], scores[~inside]).value
    assert expected == Lira({"bank": str(tmp_path / "bank")}).measure(sight, 0)["auc"].value


def test_order_of_rows_does_not_matter(tmp_path):
    bank, target, inside = gaussian_bank(8, 60)
    bank.save(tmp_path / "bank")
    ids = np.asarray(bank.ids)
    members, others = rows_of(ids[inside], target[inside]), rows_of(ids[~inside], target[~inside])
    attack = Lira({"bank": str(tmp_path / "bank")})
    turned = Sight(members.take(range(29, -1, -1)), others.take(range(29, -1, -1)))
    assert attack.measure(Sight(members, others), 3) == attack.measure(turned, 3)


def test_an_example_without_models_on_one_side_is_unscored():
    bank, target, _ = gaussian_bank(6, 5)
    everywhere = np.array(bank.member)
    everywhere[:, 0] = True
    found = lira(target, Bank(bank.ids, bank.signals, everywhere), Lira.Config())
    assert [True, False, False, False, False] == np.isnan(found).tolist()


def test_no_bank_is_the_users_mistake():
    with pytest.raises(UserError, match=r"attack\[lira\]\.bank: needs a bank"):
        Lira().measure(Sight(Rows((), {})), 0)


def test_masked_median_equals_numpy():
    draw = np.random.default_rng(4)
    values, used = draw.normal(size=(9, 30)), draw.random((9, 30)) < 0.5
    used[:, 0] = False
    found = masked_median(values, used)
    assert np.isnan(found[0])
    np.testing.assert_allclose([np.median(values[used[:, i], i]) for i in range(1, 30)], found[1:])
