"""AGR: agreement of representations with the retrained model."""

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class Agr(Metric):
    """1 - mean of the k-NN gaps and of 1 - CKA to the retrained model; 1 = equal.

    OUR definition: "Are We Truly Forgetting?" names AGR, but its arithmetic is not published.

    >>> from mmunlearn.records import Rows
    >>> cells = {"forget/gap_knn_transfer": Value(0.2, 4), "forget/cka": Value(0.6, 9)}
    >>> Agr().reduce(Sight(Rows((), {}), cells=cells)).value
    0.7
    """

    class Config(Settings):
        """gaps: cells of gaps of transfer accuracies. cka: cells of CKA with the retrained model."""

        gaps: tuple[str, ...] = ("forget/gap_knn_transfer",)
        cka: tuple[str, ...] = ("forget/cka",)

    better = "higher"
    measures = "forgetting"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """Gaps and CKA."""
        return (*self.config.gaps, *self.config.cka)

    def reduce(self, sight: Sight) -> Value:
        """n = number of cells; NaN where one is missing or NaN."""
        if any(name not in sight.cells for name in self.needs_cells):
            return NOTHING
        parts = [sight.cells[name].value for name in self.config.gaps]
        parts += [1 - sight.cells[name].value for name in self.config.cka]
        return Value(1 - sum(parts) / len(parts), len(parts)) if all(p == p for p in parts) else NOTHING
