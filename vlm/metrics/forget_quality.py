"""Forget quality of FIUBench: four forget cells as one number."""

from typing import Literal

from mmunlearn.metrics._text import DivideBy
from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.metrics.ks_log_p import KsLogP, ks_log_p
from mmunlearn.settings import Settings


class ForgetQuality(Metric):
    """0.5·KS + 0.15·(1 - keyword recall) + 0.2·(1 - Min-K) + 0.15·(1 - APE) (FIUBench, appendix D.3, as transcribed
    by a third party; vlm_fiu_mmu_safe.md 1.5).

    KS = 1 - log p / log p_min, cut to 0..1, with p of the Kolmogorov-Smirnov test against the retrained model. log
    p_min is that of the model before unlearning, which must be seen on the same rows; the paper's table agrees with
    -26.1 (our inversion: the paper does not state it). The sum rewards a collapsed model; never show it alone.

    >>> from mmunlearn.records import Rows
    >>> cells = {"forget/ks_log_p": -5.0, "forget/keyword_recall": 0.2, "forget/min_k": 0.1, "forget/ape": 0.2}
    >>> sight = Sight(Rows((), {}), cells={name: Value(value, 10) for name, value in cells.items()})
    >>> round(ForgetQuality({"log_p_min": -20.0}).reduce(sight).value, 3)
    0.795
    """

    class Config(Settings):
        """log_p_min: value that counts as 0, in the base of the cell (None: the original's own). divide_by, base: of
        the truth ratio and the logarithm that the cell was made with."""

        ks: str = "forget/ks_log_p"
        keyword_recall: str = "forget/keyword_recall"
        min_k: str = "forget/min_k"
        ape: str = "forget/ape"
        log_p_min: float | None = None
        divide_by: DivideBy = "tokens"
        base: Literal["e", "10"] = "e"

    better = "higher"
    measures = "forgetting"
    reads = "text"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """The four cells."""
        c = self.config
        return (c.ks, c.keyword_recall, c.min_k, c.ape)

    @property
    def needs_original(self) -> bool:  # type: ignore[override]
        """Whether the original's rows give log p_min."""
        return self.config.log_p_min is None

    @property
    def needs_reference(self) -> bool:  # type: ignore[override]
        """As `needs_original`: its value is against the retrained model."""
        return self.config.log_p_min is None

    def reduce(self, sight: Sight) -> Value:
        """NaN where a cell is missing or NaN, or log p_min is not known; n is the smallest of the cells'."""
        cells = [sight.cells.get(name) for name in self.needs_cells]
        floor = self._floor(sight)
        if any(cell is None or cell.value != cell.value for cell in cells) or floor != floor:
            return NOTHING
        ks, recall, min_k, ape = (cell.value for cell in cells if cell is not None)
        # An original that cannot be told from the retrained model leaves no scale: as close as it is 1, else 0.
        close = min(1.0, max(0.0, 1 - ks / floor)) if floor < 0 else float(ks >= 0)
        value = 0.5 * close + 0.15 * (1 - recall) + 0.2 * (1 - min_k) + 0.15 * (1 - ape)
        return Value(value, min(cell.n for cell in cells if cell is not None))

    def _floor(self, sight: Sight) -> float:
        if self.config.log_p_min is not None:
            return self.config.log_p_min
        if sight.original is None:
            return float("nan")
        settings = KsLogP.Config(divide_by=self.config.divide_by, base=self.config.base)
        return ks_log_p(sight.original, sight.reference, settings).value
