"""Metric: a pure function of rows. It never sees a model, so an old run can be scored anew without one."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from mmunlearn.records import Rows
from mmunlearn.settings import Settings, build


class Value(NamedTuple):
    """A measured number: `n` rows counted, `stderr` of the value where a formula is known, `unscored` rows left out.

    low, high: ends of a 95 % interval where one is known that is not value ± 1.96 stderr (Wilson, bootstrap).
    note: which of several readings this is (a denominator, the network behind a distance); kept in the result file.
    """

    value: float
    n: int
    stderr: float | None = None
    unscored: int = 0
    low: float | None = None
    high: float | None = None
    note: str = ""


CLIP_WEIGHTS = "weights of a CLIP model"  # marks a setting that the contract's checks fill with a tiny one

NOTHING = Value(math.nan, 0)


@dataclass(frozen=True)
class Sight:
    """What a metric may look at.

    rows: the evaluation's own rows. against: rows of the evaluation's second split (non-members, say).
    reference, reference_against: the same two of the retrained model; original, original_against: of the model before
    unlearning. cells: values of this run computed so far, by "<evaluation>/<metric>". splits: rows of every split that
    this run answered, by the split's name. requests: the benchmark settings of every request that the model has been
    through, in order, the run's own last (none where the table has no requests). judged: rows with verdicts of this
    run's evaluations so far, by name. original_judged: the original's rows with the verdicts of the same evaluation.
    """

    rows: Rows
    against: Rows | None = None
    reference: Rows | None = None
    reference_against: Rows | None = None
    original: Rows | None = None
    original_against: Rows | None = None
    cells: Mapping[str, Value] = field(default_factory=dict)
    splits: Mapping[str, Rows] = field(default_factory=dict)
    requests: tuple[Mapping[str, Any], ...] = ()
    judged: Mapping[str, Rows] = field(default_factory=dict)
    original_judged: Rows | None = None


class Metric(ABC):
    """A named reduction of rows. Settings in the nested Config; file `metrics/<name>.py` holds class `<Name>`."""

    class Config(Settings):
        """Settings of the metric; every field has a default."""

    unit: ClassVar[str] = "fraction"
    better: ClassVar[Literal["higher", "lower", "closer"]] = "higher"  # closer: to the retrained model's value
    columns: ClassVar[tuple[str, ...]] = ()  # columns that must be there
    needs_against: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False
    needs_original: ClassVar[bool] = False
    needs_cells: ClassVar[tuple[str, ...]] = ()
    measures: ClassVar[Literal["quality", "forgetting"]] = "quality"  # what the contract's direction check varies
    reads: ClassVar[Literal["classes", "text", "pictures"]] = "classes"  # which rows the contract's checks build
    check_settings: ClassVar[Mapping[str, Any]] = {}  # settings of the contract's checks
    known_failures: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: Settings | Mapping[str, Any] | None = None):
        if config is None or isinstance(config, Mapping):
            config = build(type(self).Config, config or {}, f"metric[{self.name()}]")
        self.config: Any = config

    @classmethod
    def name(cls) -> str:
        """The registered name: the stem of the file that defines the class."""
        return cls.__module__.rpartition(".")[2]

    @abstractmethod
    def reduce(self, sight: Sight) -> Value:
        """The metric's value. Empty or all-unscored rows give NaN with n = 0, never an exception or 0."""


def scored(rows: Rows, *columns: str) -> tuple[Rows, int]:
    """Rows whose `columns` (and verdict `value`, if there is one) hold no NaN, and how many rows were left out."""
    keep = np.ones(len(rows), dtype=bool)
    for name in (*columns, "value"):
        if len(rows) and (name in columns or name in rows) and rows[name].dtype != object:
            keep &= ~np.isnan(rows[name].astype(np.float64)).reshape(len(rows), -1).any(-1)
    left_out = int((~keep).sum())
    return (rows.take(np.flatnonzero(keep)) if left_out else rows), left_out


def mean_of(each: np.ndarray, unscored: int = 0) -> Value:
    """Mean of one number a row, with its standard error; NaN with n = 0 for no rows."""
    n = len(each)
    if not n:
        return NOTHING._replace(unscored=unscored)
    return Value(float(each.mean()), n, float(each.std(ddof=1) / np.sqrt(n)) if n > 1 else None, unscored)


def beside_reference(sight: Sight, *columns: str) -> tuple[Rows, Rows, int]:
    """Rows that both the model and the retrained model answered, in one order, and how many of ours were unscored."""
    rows, unscored = scored(sight.rows, *columns)
    if not len(rows) or sight.reference is None:
        none = Rows((), {})
        return none, none, unscored
    return *aligned(rows, scored(sight.reference, *columns)[0]), unscored


def aligned(rows: Rows, other: Rows) -> tuple[Rows, Rows]:
    """Both, reduced to the ids that they share, sorted by id."""
    here, there = {k: i for i, k in enumerate(rows.ids)}, {k: i for i, k in enumerate(other.ids)}
    shared = sorted(here.keys() & there.keys())
    return rows.take([here[k] for k in shared]), other.take([there[k] for k in shared])


def is_concrete(candidate: object) -> bool:
    """Whether `candidate` is a metric class that can be constructed."""
    return inspect.isclass(candidate) and issubclass(candidate, Metric) and not inspect.isabstract(candidate)
