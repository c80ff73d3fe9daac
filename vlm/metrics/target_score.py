"""Target score of a single edit: the harmonic mean of rewrite, paraphrase and neighbourhood score."""

from statistics import harmonic_mean

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class TargetScore(Metric):
    """Harmonic mean of cells; 0 where one of them is 0 (vlm_unlok_offside_med 1.9).

    >>> from mmunlearn.records import Rows
    >>> cells = {name: Value(v, 60) for name, v in zip(TargetScore().needs_cells, (1.0, 0.5, 1.0))}
    >>> TargetScore().reduce(Sight(Rows((), {}), cells=cells))[:2]
    (0.75, 3)
    """

    class Config(Settings):
        """cells: what goes in; all must be there."""

        cells: tuple[str, ...] = ("rewrite/score", "paraphrase/score", "neighbour/score")

    better = "higher"
    reads = "text"
    check_settings = {"cells": ("forget/keyword_recall", "retain/rouge_l")}

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """The cells without which there is no value."""
        return self.config.cells

    def reduce(self, sight: Sight) -> Value:
        """NaN where a cell is missing or NaN."""
        found = [sight.cells[name].value for name in self.config.cells if name in sight.cells]
        if len(found) < len(self.config.cells) or any(value != value for value in found):
            return NOTHING
        return Value(harmonic_mean(found) if min(found) > 0 else 0.0, len(found))
