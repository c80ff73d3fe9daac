import numpy as np
import pytest
from scipy.stats import norm

from mmunlearn import roc
from mmunlearn.attacks.attack_r import AttackR, attack_r
from mmunlearn.bank import Bank
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows


def gaussian_bank(models: int, examples: int):
    draw = np.random.default_rng(7)
    base, spread = 3 * draw.normal(size=examples), draw.uniform(0.5, 2, examples)
    member = draw.random((models, examples)).argsort(0) < models // 2
    phi = base + spread * (1.5 * member + draw.normal(size=member.shape))
    inside = np.arange(examples) < examples // 2
    target = base + spread * (1.5 * inside + draw.normal(size=examples))
    return Bank(tuple(f"{i:05d}" for i in range(examples)), {"rescaled_logit": phi}, member), target, inside


def test_scores_order_as_the_gaussian_percentile_by_loops():
    bank, target, _ = gaussian_bank(12, 30)
    phi, found = bank.signal("rescaled_logit"), attack_r(target, bank)
    for i in range(30):
        out = phi[~bank.member[:, i], i]
        assert -norm(np.median(out), out.std(ddof=1)).logsf(target[i]) == pytest.approx(found[i])


def test_auc_is_that_of_the_standardised_shift():
    """Every example's shift is 1.5 of its own deviations, so a percentile an example sees AUC Φ(1.5/√2)."""
    bank, target, inside = gaussian_bank(200, 4000)
    scores = attack_r(target, bank)
    assert norm.cdf(1.5 / np.sqrt(2)) == pytest.approx(roc.auc(scores[inside], scores[~inside]).value, abs=0.02)


def test_cells_and_examples_with_too_few_models(tmp_path):
    bank, target, inside = gaussian_bank(10, 40)
    member = np.array(bank.member)
    member[:9, 0] = True  # one model without it at most
    bank = Bank(bank.ids, bank.signals, member)
    bank.save(tmp_path / "bank")

    def rows(which: np.ndarray) -> Rows:
        logits = np.stack([target[which], 0 * target[which]], -1)[:, None]
        return Rows(tuple(np.asarray(bank.ids)[which]), {"logits": logits, "target": np.zeros((which.sum(), 1))})

    cells = AttackR({"bank": str(tmp_path / "bank")}).measure(Sight(rows(inside), rows(~inside)), 0)
    assert {"auc", "tpr_at_0.1pct_fpr", "tpr_at_1pct_fpr", "tpr_at_10pct_fpr", "balanced_accuracy"} == set(cells)
    assert (39, 1) == (cells["auc"].n, cells["auc"].unscored)
