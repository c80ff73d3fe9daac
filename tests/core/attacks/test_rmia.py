import numpy as np
import pytest

from mmunlearn import roc
from mmunlearn.attacks.rmia import Rmia, ratios, rmia
from mmunlearn.bank import Bank
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows


def confidence_bank(models: int, examples: int, seed: int = 0):
    """Confidence = logistic of hardness + 1.5 if member + noise; the first half is the target's training set."""
    draw = np.random.default_rng(seed)
    base = 2 * draw.normal(size=examples)
    member = draw.random((models, examples)).argsort(0) < models // 2
    p = 1 / (1 + np.exp(-(base + 1.5 * member + draw.normal(size=member.shape))))
    inside = np.arange(examples) < examples // 2
    target = base + 1.5 * inside + draw.normal(size=examples)
    ids = tuple(f"{i:05d}" for i in range(examples))
    return Bank(ids, {"confidence": p}, member), target, inside


def slow_ratio(p: float, inside: np.ndarray, outside: np.ndarray, config: Rmia.Config) -> float:
    if config.form == "online":
        return p / ((inside.mean() + outside.mean()) / 2)
    return p / (((1 + config.scale) * outside.mean() + (1 - config.scale)) / 2)


@pytest.mark.parametrize("form", ["online", "offline"])
def test_ratios_and_scores_equal_loops(form):
    bank, z, _ = confidence_bank(10, 40)
    p, config = 1 / (1 + np.exp(-z)), Rmia.Config(form=form, scale=0.3)
    stored = bank.signal("confidence")
    expected = [
        slow_ratio(p[i], stored[bank.member[:, i], i], stored[~bank.member[:, i], i], config) for i in range(40)
    ]
    found = ratios(p, bank, config)
    np.testing.assert_allclose(expected, found)
    scores = [np.mean([expected[i] / expected[j] > 1.2 for j in range(20, 40)]) for i in range(20)]
    np.testing.assert_allclose(scores, rmia(found[:20], found[20:], 1.2))


def test_negated_confidences_cancel_online_and_not_offline():
    bank, z, inside = confidence_bank(40, 4000)
    p, found = 1 / (1 + np.exp(-z)), {}
    for form in ("online", "offline"):
        for reference in (False, True):
            config = Rmia.Config(form=form, scale=0.3, gamma=1.0, reference=reference)
            ratio = ratios(p, bank, config)
            scores = rmia(ratio, ratio[~inside], 1.0)
            found[form, reference] = roc.auc(scores[inside], scores[~inside]).value
    assert found["online", False] == pytest.approx(found["online", True])
    assert found["online", False] > 0.75
    assert found["offline", False] > 0.7
    assert found["offline", True] < found["offline", False] - 0.1


def test_defective_form_equals_loops_with_negative_numbers():
    bank, z, _ = confidence_bank(10, 60, seed=2)
    p, config = 1 / (1 + np.exp(-z)), Rmia.Config(form="offline", scale=0.3, reference=True)
    ratio = ratios(p, bank, config)
    assert (ratio < 0).any() and (ratio > 0).any()
    expected = [np.mean([r / z > 2 for z in ratio]) for r in ratio]
    np.testing.assert_allclose(expected, rmia(ratio, ratio, 2.0))


def test_population_may_be_a_split_of_its_own(tmp_path):
    bank, z, _ = confidence_bank(8, 60)
    bank.save(tmp_path / "bank")

    def rows(start: int, stop: int) -> Rows:
        logits = np.stack([z[start:stop], np.zeros(stop - start)], -1)[:, None]
        return Rows(bank.ids[start:stop], {"logits": logits, "target": np.zeros((stop - start, 1))})

    sight = Sight(rows(0, 30), rows(30, 45), splits={"retain": rows(45, 60)})
    attack = Rmia({"bank": str(tmp_path / "bank"), "population": "retain", "gamma": 1.0})
    p = 1 / (1 + np.exp(-z))
    ratio = ratios(p, bank, attack.config)
    scores = rmia(ratio[:45], ratio[45:], 1.0)
    assert roc.auc(scores[:30], scores[30:]).value == attack.measure(sight, 0)["auc"].value
