"""The membership attack of MUFAC and MUCAC: logistic regression on one loss an example."""

import numpy as np

from mmunlearn.metrics._samples import two_samples
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value


class Mia(Metric):
    """Accuracy of a one-feature logistic regression that tells forget rows from unseen rows by their loss; 0.5 = none.

    Exactly the MUFAC notebooks (vision sheet 1.4): forget losses in the order of their ids are shuffled by NumPy's
    legacy generator with seed 42 and cut to the number of unseen losses; ten stratified splits with a tenth to test,
    random state 0; scikit-learn's defaults. Compare with the retrained model's value, not only with 0.5. The ten splits
    overlap, so no standard error is given.

    >>> from mmunlearn.records import Rows
    >>> def rows(name, loss): return Rows(tuple(f"{name}{i:02d}" for i in range(20)), {"nll": np.full(20, loss)})
    >>> Mia().reduce(Sight(rows("f", 0.1), rows("u", 3.0))).value
    1.0
    """

    better = "closer"
    columns = ("nll",)
    needs_against = True
    measures = "forgetting"

    def reduce(self, sight: Sight) -> Value:
        """Mean accuracy of the ten splits; NaN with fewer than ten rows in all or fewer than two on a side."""
        members, others, unscored = two_samples(sight, "loss")
        n = min(len(members), len(others)) + len(others)
        if min(len(members), len(others)) < 2 or n <= 10:
            return NOTHING._replace(unscored=unscored)
        return Value(logistic_accuracy(-members, -others), n, None, unscored)


def logistic_accuracy(forget_losses: np.ndarray, unseen_losses: np.ndarray) -> float:
    """The attack's accuracy; losses in the order in which the data set lists its examples."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

    forget = np.array(forget_losses, dtype=np.float64)
    np.random.RandomState(42).shuffle(forget)
    forget = forget[: len(unseen_losses)]
    features = np.concatenate([unseen_losses, forget]).reshape(-1, 1)
    member = np.repeat([0, 1], [len(unseen_losses), len(forget)])
    splits = StratifiedShuffleSplit(n_splits=10, random_state=0)
    return float(cross_val_score(LogisticRegression(), features, member, cv=splits, scoring="accuracy").mean())
