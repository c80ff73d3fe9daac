"""U: half structure kept, half brand removed."""

from mmunlearn.metrics.base import NOTHING, Metric, Sight, Value
from mmunlearn.settings import Settings


class UnbrandingScore(Metric):
    """`U = 0.5 S + 0.5 (1 - B)` from two cells of the run (UNBRANDING; diffusion 3.4).

    >>> from mmunlearn.records import Rows
    >>> cells = {"brand/b": Value(0.2, 10, 0.1), "structure/s": Value(0.6, 10, 0.1)}
    >>> round(UnbrandingScore().reduce(Sight(Rows((), {}), cells=cells)).value, 6)
    0.7
    """

    class Config(Settings):
        """b, s: names of the cells."""

        b: str = "brand/b"
        s: str = "structure/s"

    better = "higher"
    check_settings = {"b": "forget/ape", "s": "retain/top1"}

    @property
    def needs_cells(self) -> tuple[str, ...]:  # type: ignore[override]
        """Both cells."""
        return (self.config.b, self.config.s)

    def reduce(self, sight: Sight) -> Value:
        """n: the smaller of both; the standard error takes both as independent."""
        cells = [sight.cells.get(name, NOTHING) for name in self.needs_cells]
        b, s = cells
        if any(cell.value != cell.value for cell in cells):
            return NOTHING._replace(unscored=max(cell.n + cell.unscored for cell in cells))
        stderr = 0.5 * (b.stderr**2 + s.stderr**2) ** 0.5 if b.stderr is not None and s.stderr is not None else None
        return Value(0.5 * s.value + 0.5 * (1 - b.value), min(b.n, s.n), stderr, max(b.unscored, s.unscored))
