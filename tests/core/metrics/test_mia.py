import numpy as np
import pytest

from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.forgetting_score import ForgettingScore
from mmunlearn.metrics.mia import Mia
from mmunlearn.metrics.mia_svc import MiaSvc, svc_share
from mmunlearn.records import Rows


def rows_of(losses: np.ndarray, name: str) -> Rows:
    return Rows(tuple(f"{name}/{i:06d}" for i in range(len(losses))), {"nll": losses})


def notebook(forget: np.ndarray, unseen: np.ndarray) -> float:
    """The steps of the sheet with NumPy's global generator and the splits and fits written out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit

    state = np.random.get_state()
    np.random.seed(42)
    forget = forget.copy()
    np.random.shuffle(forget)
    np.random.set_state(state)
    forget = forget[: len(unseen)]
    x = np.concatenate((unseen, forget)).reshape(-1, 1)
    y = [0] * len(unseen) + [1] * len(forget)
    shares = []
    for train, test in StratifiedShuffleSplit(n_splits=10, random_state=0).split(x, y):
        model = LogisticRegression().fit(x[train], np.take(y, train))
        shares.append((model.predict(x[test]) == np.take(y, test)).mean())
    return float(np.mean(shares))


@pytest.mark.parametrize(("n_forget", "n_unseen"), [(150, 160), (330, 200), (40, 40)])
def test_accuracy_is_the_notebooks_whatever_the_order_of_rows(n_forget, n_unseen):
    draw = np.random.default_rng(n_forget)
    forget, unseen = draw.gamma(1, 0.6, n_forget), draw.gamma(1.5, 1, n_unseen)
    one, two = rows_of(forget, "forget"), rows_of(unseen, "unseen")
    expected = notebook(forget, unseen)
    found = Mia().reduce(Sight(one.take(draw.permutation(n_forget)), two.take(draw.permutation(n_unseen))))
    assert expected == found.value
    assert min(n_forget, n_unseen) + n_unseen == found.n
    assert abs(expected - 0.5) == ForgettingScore().reduce(Sight(one, two)).value


def test_the_shuffle_matters():
    draw = np.random.default_rng(3)
    forget, unseen = np.sort(draw.gamma(1, 0.6, 200)), draw.gamma(1.5, 1, 200)
    forwards, backwards = (
        Mia().reduce(Sight(rows_of(f, "f"), rows_of(unseen, "u"))).value for f in (forget, forget[::-1])
    )
    assert forwards != backwards
    assert forwards == pytest.approx(backwards, abs=0.05)


def test_label_losses_are_means_over_labels():
    draw = np.random.default_rng(4)
    forget, unseen = draw.gamma(1, 0.6, 60), draw.gamma(1.5, 1, 60)
    summed = [rows_of(3 * v, n).with_column("count", np.full(60, 3)) for v, n in ((forget, "f"), (unseen, "u"))]
    assert notebook(forget, unseen) == Mia().reduce(Sight(*summed)).value


def test_too_few_rows_are_nan():
    found = Mia().reduce(Sight(rows_of(np.ones(3), "f"), rows_of(np.ones(3), "u")))
    assert np.isnan(found.value) and 0 == found.n


def confident(p: np.ndarray, name: str) -> Rows:
    logits = np.stack([np.log(p / (1 - p)), np.zeros(len(p))], -1)[:, None]
    ids = tuple(f"{name}/{i:04d}" for i in range(len(p)))
    return Rows(ids, {"logits": logits, "target": np.zeros((len(p), 1))})


def test_svm_attack_is_salun_s():
    from sklearn.svm import SVC

    draw = np.random.default_rng(5)
    retain, test, forget = draw.beta(8, 1, 90), draw.beta(2, 2, 50), draw.beta(4, 1.5, 40)
    model = SVC(C=3, gamma="auto", kernel="rbf")
    model.fit(np.concatenate([retain[:50], test]).reshape(-1, 1), [1] * 50 + [0] * 50)
    expected = 1 - model.predict(forget.reshape(-1, 1)).mean()
    splits = {"retain": confident(retain, "r"), "test": confident(test, "t")}
    found = MiaSvc().reduce(Sight(confident(forget, "f"), splits=splits))
    assert float(expected) == pytest.approx(found.value)
    assert found.value == pytest.approx(svc_share(retain[:50], test, forget))
    with pytest.raises(UserError, match="no answers to the split 'retain'"):
        MiaSvc().reduce(Sight(confident(forget, "f")))
