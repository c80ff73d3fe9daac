"""NoMUS: the final score of MUFAC and MUCAC."""

from pydantic import Field

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class Nomus(Metric):
    """λ·Acc + (1 - λ)·(1 - 2·F), with Acc the test accuracy and F = |mia - 0.5| the forgetting score; λ = ½ in the
    paper.

    Range 0 … 1. Choi and Na, "Towards machine unlearning benchmarks"; arithmetic of all published rows checked to 1e-4.
    Weak points: it never looks at the retrained model (whose own F is above 0), rewards over-forgetting like
    forgetting, lets a collapsed model score high, and λ is arbitrary. Read it beside the gaps to the retrained model.

    >>> from mmunlearn.records import Rows
    >>> cells = {"test/top1": Value(0.5951, 1539), "forget/forgetting_score": Value(0.2136, 3004)}
    >>> round(Nomus().reduce(Sight(Rows((), {}), cells=cells)).value, 4)
    0.5839
    """

    class Config(Settings):
        """weight: λ, of the accuracy. accuracy, forgetting: the cells that hold Acc and F."""

        weight: float = Field(0.5, ge=0, le=1)
        accuracy: str = "test/top1"
        forgetting: str = "forget/forgetting_score"

    better = "higher"

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """Accuracy and forgetting score."""
        return (self.config.accuracy, self.config.forgetting)

    def reduce(self, sight: Sight) -> Value:
        """n and standard error of the accuracy's cell (the forgetting score has no error formula)."""
        if any(name not in sight.cells for name in self.needs_cells):
            return NOTHING
        accuracy, forgetting = (sight.cells[name] for name in self.needs_cells)
        value = nomus(accuracy.value, forgetting.value, self.config.weight)
        return Value(value, accuracy.n) if value == value else NOTHING


def nomus(accuracy: float, forgetting_score: float, weight: float = 0.5) -> float:
    """NoMUS of a test accuracy and a forgetting score |mia - 0.5|, all fractions."""
    return weight * accuracy + (1 - weight) * (1 - 2 * forgetting_score)
