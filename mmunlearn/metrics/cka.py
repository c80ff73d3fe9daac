"""Linear CKA: how alike two models' features are."""

import numpy as np
from pydantic import Field

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, aligned, scored
from mmunlearn.settings import Settings


class Cka(Metric):
    """Linear centred kernel alignment of penultimate features with the retrained model's; 1 = equal up to rotation and
    scale (Kornblith et al.; "Are We Truly Forgetting?", where the original model's value tells the other half).

    Differs from the reference: one value over all rows in O(n d²), without an n × n matrix. `reference` is its mean
    over mini-batches of `batch` rows in order of id: biased upwards, a short last batch weighs like the others.

    >>> from mmunlearn.records import Rows
    >>> rows = Rows(tuple("abc"), {"features": np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])})
    >>> turned = Rows(tuple("abc"), {"features": np.array([[0.0, 2.0], [2.0, 0.0], [0.0, 0.0]])})
    >>> round(Cka().reduce(Sight(rows, reference=turned)).value, 12)
    1.0
    """

    class Config(Settings):
        """versus: whose features. reference: the mini-batch form. batch: its size."""

        versus: str = Field("reference", pattern="^(reference|original)$")
        reference: bool = False
        batch: int = Field(512, ge=2)

    better = "higher"
    columns = ("features",)
    measures = "forgetting"

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        """Whether the retrained model's rows are compared with."""
        return self.config.versus == "reference"

    @property
    def needs_original(self) -> bool:  # type: ignore[override]
        """Whether the original model's rows are compared with."""
        return self.config.versus == "original"

    def reduce(self, sight: Sight) -> Value:
        """NaN with fewer than two rows in common or constant features."""
        other = getattr(sight, self.config.versus)
        rows, unscored = scored(sight.rows, *self.columns)
        if not len(rows) or other is None:
            return NOTHING._replace(unscored=unscored)
        mine, theirs = aligned(rows, scored(other, *self.columns)[0])
        if len(mine) < 2:
            return NOTHING._replace(unscored=unscored)
        x, y = mine["features"], theirs["features"]
        value = batch_cka(x, y, self.config.batch) if self.config.reference else linear_cka(x, y)
        return Value(value, len(mine), None, unscored) if value == value else NOTHING._replace(unscored=unscored)


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of column-centred features (n, d), (n, e), Frobenius norms; NaN for constant features."""
    x, y = x - x.mean(0), y - y.mean(0)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / scale) if scale > 0 else float("nan")


def batch_cka(x: np.ndarray, y: np.ndarray, batch: int) -> float:
    """Mean of `linear_cka` over consecutive batches, each weighted alike."""
    parts = [linear_cka(x[i : i + batch], y[i : i + batch]) for i in range(0, len(x), batch)]
    return float(np.mean(parts))
