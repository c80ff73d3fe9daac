"""Graded answers: what was asked and what the heads read, and shares of them by class."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np

from mmunlearn.metrics.base import NOTHING, Sight, Value
from mmunlearn.records import Rows

from ._requests import tag

Head = Literal["style", "object"]


class Answers(NamedTuple):
    """Columns of (n,) names; `scored` is False where the judge has no label or the prompt's tags are missing."""

    style: np.ndarray
    object: np.ndarray
    said_style: np.ndarray
    said_object: np.ndarray
    scored: np.ndarray

    def asked(self, head: Head) -> np.ndarray:
        """What the prompts name."""
        return self.style if head == "style" else self.object

    def right(self, head: Head) -> np.ndarray:
        """Whether the head reads what was asked: (n,) bool."""
        said = self.said_style if head == "style" else self.said_object
        return np.fromiter((a == s and a is not None for a, s in zip(self.asked(head), said, strict=True)), bool)


def answers(rows: Rows) -> Answers:
    """Answers of graded rows: columns tag.style, tag.object (or tags) and label."""
    labels = rows["label"] if "label" in rows else np.full(len(rows), None, dtype=object)
    parts = [label.split("/", 1) if isinstance(label, str) and "/" in label else (None, None) for label in labels]
    said = np.array(parts, dtype=object).reshape(len(rows), 2)
    style, thing = tag(rows, "style"), tag(rows, "object")
    scored = np.array([None not in row for row in zip(style, thing, said[:, 0], strict=True)], dtype=bool)
    return Answers(style, thing, said[:, 0], said[:, 1], scored.reshape(len(rows)))


class Share(NamedTuple):
    """Share of right answers in one class, of `n` scored ones; `unscored` others."""

    value: float
    n: int
    unscored: int


def share(found: Answers, right: np.ndarray, among: np.ndarray) -> Share:
    """Share of `right` among the scored answers of the mask `among`."""
    counted = among & found.scored
    n = int(counted.sum())
    return Share(float(right[counted].mean()) if n else np.nan, n, int((among & ~found.scored).sum()))


def class_shares(found: Answers, head: Head, names: Iterable[str]) -> list[Share]:
    """For each name the share of pictures, asked with that name, in which the head reads it."""
    right, asked = found.right(head), found.asked(head)
    return [share(found, right, asked == name) for name in names]


def mean_share(parts: list[Share], note: str = "", *, forgotten: bool = False) -> Value:
    """Mean over classes (not over pictures), its standard error from the binomial ones; 1 minus it where `forgotten`.

    Classes without a scored picture are left out of the mean.
    """
    unscored = sum(part.unscored for part in parts)
    able = [part for part in parts if part.n]
    if not able:
        return NOTHING._replace(unscored=unscored)
    value = float(np.mean([part.value for part in able]))
    variance = sum(part.value * (1 - part.value) / part.n for part in able) / len(able) ** 2
    return Value(
        1 - value if forgotten else value, sum(part.n for part in able), float(np.sqrt(variance)), unscored, note=note
    )


def untagged(found: Answers) -> int:
    """Rows that no class counts because their prompt's tags are missing."""
    return int(sum(style is None or thing is None for style, thing in zip(found.style, found.object, strict=True)))


def with_untagged(value: Value, found: Answers) -> Value:
    """`value` with rows without tags among its unscored ones."""
    return value._replace(unscored=value.unscored + untagged(found))


def graded(sight: Sight) -> Answers | None:
    """Answers of the evaluation's rows; None without rows."""
    return answers(sight.rows) if len(sight.rows) else None
