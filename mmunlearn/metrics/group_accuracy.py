"""Group accuracy: the share of groups in which every row is right (MME's acc+: both questions on a picture)."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value, scored
from mmunlearn.settings import Settings


class GroupAccuracy(Metric):
    """Share of groups (rows with the same tag) whose values are all 1; a group with an unscored row is unscored.

    Rows without the tag are groups of their own.

    >>> from mmunlearn.records import Rows
    >>> tags = np.array(["a", "a", "b", "b"], dtype=object)
    >>> rows = Rows(("1", "2", "3", "4"), {"value": np.array([1.0, 1.0, 1.0, 0.0]), "tag.group": tags})
    >>> GroupAccuracy().reduce(Sight(rows)).value
    0.5
    """

    class Config(Settings):
        """tag: what makes a group."""

        tag: str = "group"

    better = "higher"
    columns = ("value",)

    def reduce(self, sight: Sight) -> Value:
        """Mean over groups; n and unscored count groups."""
        rows = sight.rows
        if not len(rows):
            return NOTHING
        good, _ = scored(rows, *self.columns)
        kept = set(good.ids)
        name = f"tag.{self.config.tag}"
        names = rows[name] if name in rows else [None] * len(rows)
        groups: dict[str, list[bool | None]] = {}
        for key, group, value in zip(rows.ids, names, rows["value"], strict=True):
            found = bool(value == 1) if key in kept else None
            groups.setdefault(f"row {key}" if not isinstance(group, str) else f"group {group}", []).append(found)
        right = np.array([all(found) for found in groups.values() if None not in found], dtype=np.float64)
        unscored = len(groups) - len(right)
        if not len(right):
            return NOTHING._replace(unscored=unscored)
        stderr = float(right.std(ddof=1) / np.sqrt(len(right))) if len(right) > 1 else None
        return Value(float(right.mean()), len(right), stderr, unscored)
