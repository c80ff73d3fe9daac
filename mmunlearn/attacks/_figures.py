"""The figures that every membership attack reports for one score, and how scores of two splits are lined up."""

import numpy as np

from mmunlearn import roc
from mmunlearn.bank import Bank, read_bank
from mmunlearn.metrics._samples import signal
from mmunlearn.metrics.base import NOTHING, Sight, Value
from mmunlearn.records import Rows

RATES = {"0.1pct": 0.001, "1pct": 0.01, "10pct": 0.1}


def figures(members: np.ndarray, others: np.ndarray, seed: int, name: str) -> dict[str, Value]:
    """auc, tpr_at_<rate>_fpr and balanced_accuracy of scores (higher = member) with 95 % intervals; NaN is left out.

    `name` keys the bootstrap's stream.
    """
    inside, outside = members[~np.isnan(members)], others[~np.isnan(others)]
    n = len(inside) + len(outside)
    unscored = len(members) + len(others) - n
    titles = ["auc", *(f"tpr_at_{rate}_fpr" for rate in RATES), "balanced_accuracy"]
    if not len(inside) or not len(outside):
        return {title: NOTHING._replace(unscored=unscored) for title in titles}
    found = [
        roc.auc(inside, outside),
        *(roc.tpr_at_fpr(inside, outside, rate) for rate in RATES.values()),
        roc.balanced_accuracy(inside, outside, seed, "attack", name),
    ]
    return {title: value_of(estimate, n, unscored) for title, estimate in zip(titles, found, strict=True)}


def value_of(estimate: roc.Estimate, n: int, unscored: int) -> Value:
    """An estimate as a cell; error and interval are None where they cannot be known."""
    known = [None if v != v else v for v in estimate[1:]]
    return Value(estimate.value, n, known[0], unscored, known[1], known[2])


def observed(rows: Rows | None, name: str, bank: Bank) -> tuple[np.ndarray, Bank]:
    """The target model's signal on `rows` in the order of their ids, and the bank's columns for the same examples."""
    if rows is None or not len(rows):
        return np.empty(0), bank.at([])
    return signal(rows, name), bank.at(sorted(rows.ids))


def bank_of(path: str, attack: str) -> Bank:
    """The bank that an attack's setting names."""
    return read_bank(path, f"attack[{attack}].bank")


def empty(sight: Sight) -> bool:
    """Whether one of the two sides has no rows."""
    return not len(sight.rows) or sight.against is None or not len(sight.against)
