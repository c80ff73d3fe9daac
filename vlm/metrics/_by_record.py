"""Rows grouped by the record that they belong to."""

import numpy as np

from mmunlearn.records import Rows

COLUMN = "tag.record"


def records(rows: Rows) -> np.ndarray:
    """The record of each row: its tag, else its own id."""
    if COLUMN not in rows:
        return np.asarray(rows.ids, dtype=object)
    pairs = zip(rows[COLUMN], rows.ids, strict=True)
    return np.asarray([key if isinstance(key, str) else own for key, own in pairs], dtype=object)


def first_of_each(rows: Rows) -> Rows:
    """The row with the smallest id of each record: the first prompt of its kind."""
    found: dict[str, int] = {}
    names = records(rows)
    for at in sorted(range(len(rows)), key=lambda i: rows.ids[i]):
        found.setdefault(names[at], at)
    return rows.take(sorted(found.values()))


def means(values: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Mean of the values of each record, records in sorted order."""
    order = sorted(set(names.tolist()))
    place = {name: at for at, name in enumerate(order)}
    index = np.asarray([place[name] for name in names.tolist()], dtype=np.int64)
    counts = np.bincount(index, minlength=len(order))
    return np.bincount(index, weights=values, minlength=len(order)) / counts
