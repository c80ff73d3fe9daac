"""Mean of other cells: one figure for a suite of benchmarks."""

import numpy as np

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class CellMean(Metric):
    """Unweighted mean of the named cells; cells without a value are left out and counted as unscored.

    n counts cells. The standard error takes the cells as independent; there is none where one of them has none.

    >>> from mmunlearn.records import Rows
    >>> cells = {"utility/a": Value(0.5, 10), "utility/b": Value(1.0, 4)}
    >>> sight = Sight(Rows((), {}), cells=cells)
    >>> CellMean({"cells": ["utility/a", "utility/b"]}).reduce(sight).value
    0.75
    """

    class Config(Settings):
        """cells: their names."""

        cells: tuple[str, ...] = ("retain/top1", "test/top1")

    better = "higher"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """The cells."""
        return self.config.cells

    def reduce(self, sight: Sight) -> Value:
        """The mean of those that have a value."""
        found = [sight.cells[name] for name in self.config.cells if name in sight.cells]
        there = [cell for cell in found if cell.value == cell.value]
        if not there:
            return NOTHING._replace(unscored=len(found))
        stderr = None
        if all(cell.stderr is not None for cell in there):
            stderr = float(np.sqrt(sum(cell.stderr**2 for cell in there if cell.stderr is not None)) / len(there))
        return Value(float(np.mean([cell.value for cell in there])), len(there), stderr, len(found) - len(there))
