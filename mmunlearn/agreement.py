"""How far two graders agree: raw agreement, Cohen's kappa and Pearson's correlation, with 95 % intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmunlearn.intervals import bootstrap, wilson


class Agreement(NamedTuple):
    """A figure over n pairs with the ends of its interval."""

    value: float
    n: int
    low: float
    high: float


NONE = Agreement(math.nan, 0, math.nan, math.nan)


def raw_agreement(one: Sequence[object], two: Sequence[object]) -> Agreement:
    """Share of pairs with equal labels; Wilson's interval.

    >>> raw_agreement(["a", "b", "a", "b"], ["a", "b", "b", "b"])[:2]
    (0.75, 4)
    """
    same = [a == b for a, b in zip(one, two, strict=True)]
    if not same:
        return NONE
    low, high = wilson(sum(same), len(same))
    return Agreement(sum(same) / len(same), len(same), float(low), float(high))


def kappa(one: Sequence[object], two: Sequence[object]) -> Agreement:
    """Cohen's kappa, (p - e) / (1 - e): agreement beyond what the labels' own shares give by chance; percentile
    bootstrap of the pairs. NaN where both graders have one and the same label throughout.

    >>> round(kappa(["y"] * 25 + ["n"] * 25, ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15).value, 3)
    0.4
    """
    names = sorted({str(label) for label in (*one, *two)})
    place = {name: i for i, name in enumerate(names)}
    pairs = np.array([[place[str(a)], place[str(b)]] for a, b in zip(one, two, strict=True)]).reshape(-1, 2)
    if not len(pairs):
        return NONE
    classes = len(names)

    def of(drawn: np.ndarray) -> np.ndarray:
        marks = np.eye(classes)[drawn]  # (repeats, n, 2, classes)
        shares = marks.mean(1)
        chance = (shares[:, 0] * shares[:, 1]).sum(-1)
        same = (drawn[..., 0] == drawn[..., 1]).mean(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(chance < 1, (same - chance) / (1 - chance), np.nan)

    value = float(of(pairs[None])[0])
    if math.isnan(value):
        return Agreement(value, len(pairs), math.nan, math.nan)
    _, low, high = bootstrap(pairs, lambda drawn: np.nan_to_num(of(drawn), nan=1.0), 0, "kappa", repeats=500)
    return Agreement(value, len(pairs), low, high)


def pearson(one: Sequence[float], two: Sequence[float]) -> Agreement:
    """Pearson's correlation with Fisher's interval (n > 3); NaN where a side is constant.

    >>> round(pearson([0, 0, 1, 1], [0, 1, 1, 1]).value, 4)
    0.5774
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(two, dtype=np.float64)
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return NONE._replace(n=len(a))
    value = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    if len(a) <= 3 or abs(value) == 1:
        return Agreement(value, len(a), math.nan, math.nan)
    middle, half = math.atanh(value), 1.959964 / math.sqrt(len(a) - 3)
    return Agreement(value, len(a), math.tanh(middle - half), math.tanh(middle + half))
