"""k-NN transfer: what the features are still worth on a downstream set."""

import numpy as np
from pydantic import Field

from mmunlearn.metrics._transfer import divide
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class KnnTransfer(Metric):
    """Accuracy of a cosine k-nearest-neighbour vote on features, fit on four fifths of the rows, tested on the rest.

    "Are We Truly Forgetting?" (k = 5, seed 2), on any split whose responses carry `features`. Differs from its code:
    there the "features" are logits, because the head is never removed.

    >>> from mmunlearn.records import Rows
    >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0]] * 20), np.array([[0], [1]] * 20)
    >>> KnnTransfer().reduce(Sight(Rows(tuple(f"{i:02d}" for i in range(40)), {"features": x, "target": y}))).value
    1.0
    """

    class Config(Settings):
        """k: neighbours that vote."""

        k: int = Field(5, ge=1)

    better = "closer"
    columns = ("features", "target")

    def reduce(self, sight: Sight) -> Value:
        """NaN with fewer than five rows."""
        parts = divide(sight)
        if parts is None:
            return NOTHING._replace(unscored=len(sight.rows))
        x, y, test_x, test_y, unscored = parts
        right = cosine_vote(x, y, test_x, min(self.config.k, len(x))) == test_y
        share, n = float(right.mean()), len(right)
        return Value(share, n, float(np.sqrt(share * (1 - share) / n)), unscored)


def cosine_vote(x: np.ndarray, y: np.ndarray, queries: np.ndarray, k: int, chunk: int = 1024) -> np.ndarray:
    """Majority class of the k nearest rows of x by cosine, for each query; a tied vote goes to the smaller class."""
    unit, ask = _unit(x), _unit(queries)
    classes, coded = np.unique(y, return_inverse=True)
    winners = np.empty(len(ask), dtype=np.int64)
    for start in range(0, len(ask), chunk):
        likeness = ask[start : start + chunk] @ unit.T
        near = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        rows = np.arange(len(near))[:, None] * len(classes)
        votes = np.bincount((coded[near] + rows).ravel(), minlength=len(near) * len(classes))
        winners[start : start + chunk] = votes.reshape(len(near), -1).argmax(1)
    return classes[winners]


def _unit(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norm > 0, norm, 1.0)
