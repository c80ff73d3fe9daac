"""What text metrics share: rows that were answered, the first sentence, a mean with its error."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from mmunlearn.metrics.base import NOTHING, Value
from mmunlearn.records import Rows

Cut = Literal["none", "reference"]
DivideBy = Literal["tokens", "labels"]


def answered(rows: Rows, *columns: str) -> tuple[Rows, int]:
    """Rows in which none of `columns` is None or NaN, and how many were left out; all rows where a column is absent."""
    if not len(rows) or any(name not in rows for name in columns):
        return rows.take([]), len(rows)
    keep = np.asarray([not any(_missing(rows[name][i]) for name in columns) for i in range(len(rows))])
    return rows.take(np.flatnonzero(keep)), int((~keep).sum())


def picked(rows: Rows, where: Mapping[str, str]) -> Rows:
    """Rows whose tags have the values of `where`; none where a tag is unknown."""
    if not where or not len(rows):
        return rows
    columns = {f"tag.{name}": value for name, value in where.items()}
    if any(column not in rows for column in columns):
        return rows.take([])
    return rows.take([i for i in range(len(rows)) if all(rows[c][i] == value for c, value in columns.items())])


def _missing(value: object) -> bool:
    if value is None or isinstance(value, str):
        return value is None
    return bool(np.isnan(np.asarray(value, dtype=np.float64)).any())


def shortened(text: str, cut: Cut) -> str:
    """The text, or (`reference`) what FIUBench's code keeps of it: up to the first full stop, nothing without one."""
    return text if cut == "none" else text[: text.find(".") + 1]


def mean_of(values: np.ndarray, unscored: int = 0) -> Value:
    """Mean of the values that are not NaN with its standard error; the others count as unscored."""
    known = values[~np.isnan(values)]
    unscored += len(values) - len(known)
    if not len(known):
        return NOTHING._replace(unscored=unscored)
    n = len(known)
    stderr = float(known.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    return Value(float(known.mean()), n, stderr, unscored)


def best_of(values: np.ndarray, rows: Rows, tag: str) -> np.ndarray:
    """The highest value of each group of rows that share the tag's value, groups in order; `values` where no tag is
    named. NaN where a group has no known value or the rows have not the tag."""
    if not tag:
        return values
    if f"tag.{tag}" not in rows:
        return np.full(len(values), np.nan)
    groups: dict[str, float] = {}
    for value, group in zip(values, rows[f"tag.{tag}"], strict=True):
        groups[str(group)] = float(np.fmax(groups.get(str(group), np.nan), value))
    return np.asarray(list(groups.values()))


def choice_columns(divide_by: DivideBy) -> tuple[str, ...]:
    """The columns that `choice_losses` reads."""
    columns = ("choices_nll", "choices_count")
    return columns if divide_by == "tokens" else (*columns, "choices_first_nll")


def choice_losses(rows: Rows, divide_by: DivideBy) -> list[np.ndarray]:
    """Loss a token in nats of each choice of each row, in the order of the choices.

    tokens: of all supervised tokens. labels: FIUBench's code, whose sum leaves out the first label and whose divisor
    counts it (under its own label builder that is a token of the template).
    """
    columns = [[np.asarray(one, dtype=np.float64) for one in rows[name]] for name in choice_columns(divide_by)]
    if divide_by == "labels":
        columns[0] = [nll - first for nll, first in zip(columns[0], columns[2], strict=True)]
    return [nll / np.maximum(count, 1) for nll, count in zip(columns[0], columns[1], strict=True)]
