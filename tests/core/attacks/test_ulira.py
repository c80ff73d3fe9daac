import numpy as np
import pytest
from scipy.stats import norm

from mmunlearn.attacks.ulira import Ulira, leave_one_out, ulira
from mmunlearn.bank import Bank
from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows


def unlearning_bank(models: int, examples: int, left: float, seed: int = 0) -> Bank:
    """A third of the examples of each model never seen, a third kept (phi + 3), a third unlearned (phi + left)."""
    draw = np.random.default_rng(seed)
    state = draw.random((models, examples)).argsort(0) % 3
    phi = 3 * draw.normal(size=examples) + np.choose(state, [0.0, 3.0, left]) + draw.normal(size=state.shape)
    ids = tuple(f"{i:05d}" for i in range(examples))
    signals = {"rescaled_logit": phi, "correctness": (phi > 0).astype(float)}
    return Bank(ids, signals, state > 0, state == 2)


def slow(phi: float, column: np.ndarray, unlearned: np.ndarray, unseen: np.ndarray) -> float:
    fits = [(column[used].mean(), max(column[used].std(ddof=1), 0.05)) for used in (unlearned, unseen)]
    return norm(*fits[0]).logpdf(phi) - norm(*fits[1]).logpdf(phi)


def test_leave_one_out_equals_loops():
    bank = unlearning_bank(12, 15, 1.0)
    found, phi = leave_one_out(bank, Ulira.Config(variance="example")), bank.signal("rescaled_logit")
    assert bank.unlearned is not None
    for t in range(12):
        rest = np.arange(12) != t
        for i in range(15):
            expected = slow(phi[t, i], phi[rest, i], bank.unlearned[rest, i], ~bank.member[rest, i])
            assert expected == pytest.approx(found[t, i])


@pytest.mark.parametrize("variance", ["global", "auto"])
def test_the_pooled_deviation_is_that_around_each_examples_own_mean(variance):
    bank = unlearning_bank(9, 15, 1.0)
    phi, seen = bank.signal("rescaled_logit"), np.linspace(-2, 2, 15)
    found = ulira(seen, bank, Ulira.Config(variance=variance))
    sigmas, means = [], []
    for used in (bank.unlearned, ~bank.member):
        columns = [phi[used[:, i], i] for i in range(15)]
        squares = sum((v - column.mean()) ** 2 for column in columns for v in column)
        sigmas.append(np.sqrt(squares / sum(len(column) - 1 for column in columns)))
        means.append([column.mean() for column in columns])
    for i in range(15):
        gone, never = (norm(means[side][i], sigmas[side]).logpdf(seen[i]) for side in (0, 1))
        assert gone - never == pytest.approx(found[i])


def test_auto_fits_each_example_by_itself_where_models_are_many():
    bank, seen = unlearning_bank(192, 5, 1.0), np.zeros(5)
    own = ulira(seen, bank, Ulira.Config(variance="example"))
    assert own.tolist() == ulira(seen, bank, Ulira.Config()).tolist()
    few = bank.models(range(189))
    assert ulira(seen, few, Ulira.Config()).tolist() != ulira(seen, few, Ulira.Config(variance="example")).tolist()


@pytest.mark.parametrize("left", [0.0, 1.0, 2.0])
def test_auc_is_that_of_what_unlearning_leaves_behind(left, tmp_path):
    """A trace of `left` standard deviations: accuracy Φ(left/2), AUC Φ(left/√2), whatever the example's hardness."""
    bank = unlearning_bank(97, 3000, left)
    bank.save(tmp_path / "bank")
    assert bank.unlearned is not None
    phi, ids = bank.signal("rescaled_logit")[0], np.asarray(bank.ids)
    gone, never = bank.unlearned[0], ~bank.member[0]

    def rows(which) -> Rows:
        logits = np.stack([phi[which], 0 * phi[which]], -1)[:, None]
        return Rows(tuple(ids[which]), {"logits": logits, "target": np.zeros((which.sum(), 1))})

    attack = Ulira({"bank": str(tmp_path / "bank"), "target": 0})
    cells = attack.measure(Sight(rows(gone), rows(never)), 0)
    assert norm.cdf(left / 2) == pytest.approx(cells["accuracy"].value, abs=0.045)
    assert norm.cdf(left / np.sqrt(2)) == pytest.approx(cells["auc"].value, abs=0.045)


def test_the_observed_value_in_the_fit_would_leak():
    """Without any trace, a fit that includes the target scores well above chance; leaving it out does not."""
    bank = unlearning_bank(12, 3000, 0.0, seed=3)
    assert bank.unlearned is not None
    phi, gone, never = bank.signal("rescaled_logit")[0], bank.unlearned[0], ~bank.member[0]
    leaky, honest = (ulira(phi, bank, Ulira.Config(target=t)) for t in (None, 0))

    def right(scores):
        return (float((scores[gone] > 0).mean()) + float((scores[never] < 0).mean())) / 2

    assert 0.5 == pytest.approx(right(honest), abs=0.03)
    assert right(leaky) > 0.6


def test_reference_form_leaves_out_examples_whose_models_agree():
    bank = unlearning_bank(12, 200, 1.0, seed=5)
    assert bank.unlearned is not None
    correct = bank.signal("correctness")
    found = ulira(correct[0], bank, Ulira.Config(reference=True))
    for i in range(200):
        sides = [np.append(correct[used[:, i], i], correct[0, i]) for used in (bank.unlearned, ~bank.member)]
        constant = [side.std() == 0 for side in sides]
        if any(constant):
            assert np.isnan(found[i])
        else:
            a, b = (norm(side.mean(), side.std()).logpdf(correct[0, i]) for side in sides)
            assert a - b == pytest.approx(found[i])
    assert 20 < np.isnan(found).sum() < 200


def test_constant_models_get_a_floored_deviation():
    member = np.array([[True], [True], [False], [False]])
    bank = Bank(("a",), {"rescaled_logit": np.array([[1.0], [1.0], [0.0], [0.0]])}, member, member)
    assert (1 / 0.05) ** 2 / 2 == pytest.approx(ulira(np.array([1.0]), bank, Ulira.Config())[0])


def test_a_bank_without_unlearning_is_refused():
    bank = Bank(("a",), {"rescaled_logit": np.zeros((2, 1))}, np.array([[True], [False]]))
    with pytest.raises(UserError, match="no model of the bank was unlearned"):
        ulira(np.zeros(1), bank, Ulira.Config())
