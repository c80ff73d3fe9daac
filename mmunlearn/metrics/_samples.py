"""Members' and non-members' values of one signal, as the two-sample metrics need them."""

import numpy as np

from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows
from mmunlearn.signals import SIGNALS, signals


def signal(rows: Rows, name: str) -> np.ndarray:
    """One signal of `rows` in the order of their ids; NaN where a row was not scored, empty for no rows."""
    if not len(rows):
        return np.empty(0)
    found = signals(rows.sorted())
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise UserError(f"metric: the rows allow no signal {name!r} (of {', '.join(SIGNALS)}). They allow: {known}.")
    return found[name]


def two_samples(sight: Sight, name: str) -> tuple[np.ndarray, np.ndarray, int]:
    """(members, others, rows left out) of a signal: `sight.rows` against `sight.against`."""
    inside = signal(sight.rows, name)
    outside = signal(sight.against, name) if sight.against is not None else np.empty(0)
    members, others = inside[~np.isnan(inside)], outside[~np.isnan(outside)]
    return members, others, len(inside) + len(outside) - len(members) - len(others)
