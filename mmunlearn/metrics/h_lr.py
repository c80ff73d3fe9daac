"""H-LR: harmonic mean of logit-based and representation-based agreement with the retrained model."""

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class HLr(Metric):
    """2·AGL·AGR / (AGL + AGR): high only where answers and features both agree with the retrained model's.

    OUR arithmetic; "Are We Truly Forgetting?" gives the name and says that it is harmonic.

    >>> from mmunlearn.records import Rows
    >>> cells = {"all/agl": Value(1.0, 3), "all/agr": Value(0.5, 2)}
    >>> round(HLr().reduce(Sight(Rows((), {}), cells=cells)).value, 4)
    0.6667
    """

    class Config(Settings):
        """agl, agr: their cells."""

        agl: str = "all/agl"
        agr: str = "all/agr"

    better = "higher"
    measures = "forgetting"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """AGL and AGR."""
        return (self.config.agl, self.config.agr)

    def reduce(self, sight: Sight) -> Value:
        """NaN where one is missing, NaN or both are 0."""
        if any(name not in sight.cells for name in self.needs_cells):
            return NOTHING
        one, two = (sight.cells[name].value for name in self.needs_cells)
        return Value(2 * one * two / (one + two), 2) if one + two > 0 else NOTHING
