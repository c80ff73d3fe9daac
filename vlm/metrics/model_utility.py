"""Model utility of FIUBench: one number from several retain cells."""

from statistics import fmean, harmonic_mean
from typing import Literal

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class ModelUtility(Metric):
    """Mean of cells that measure what should be kept.

    `paper`: arithmetic mean, of ROUGE-L, GPT-eval, truth ratio and the accuracy on general benchmarks (FIUBench's
    Table 2; vlm_fiu_mmu_safe.md 1.5). `code`: harmonic mean, which its aggregation script takes over ROUGE-L,
    probability, truth ratio, GPT-eval and keyword recall: other numbers, do not compare the two. Cells under `extra`
    count where the run has them (a judge or a further data set may be missing): n is how many cells went in, and means
    of different n do not compare either.

    >>> cells = {"retain/rouge_l": Value(0.9, 10), "retain/truth_ratio": Value(0.5, 10)}
    >>> from mmunlearn.records import Rows
    >>> ModelUtility().reduce(Sight(Rows((), {}), cells=cells))[:2]
    (0.7, 2)
    """

    class Config(Settings):
        """variant: which mean. cells: all must be there. extra: count where they are."""

        variant: Literal["paper", "code"] = "paper"
        cells: tuple[str, ...] = ("retain/rouge_l", "retain/truth_ratio")
        extra: tuple[str, ...] = ()

    better = "higher"
    reads = "text"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """The cells without which there is no value."""
        return self.config.cells

    def reduce(self, sight: Sight) -> Value:
        """NaN where one of `cells` is missing or NaN; cells of `extra` that are NaN count as missing."""
        found = [sight.cells[name].value for name in self.config.cells if name in sight.cells]
        if len(found) < len(self.config.cells) or not found or any(value != value for value in found):
            return NOTHING
        more = [sight.cells[name].value for name in self.config.extra if name in sight.cells]
        values = found + [value for value in more if value == value]
        mean = fmean if self.config.variant == "paper" else harmonic_mean
        return Value(mean([max(value, 0.0) for value in values]), len(values))
