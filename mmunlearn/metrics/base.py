"""Metric: a pure function of rows. It never sees a model, so an old run can be scored anew without one."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from mmunlearn.records import Rows
from mmunlearn.settings import Settings, build


class Value(NamedTuple):
    """A measured number: `n` rows counted, `stderr` of the value where a formula is known, `unscored` rows left out."""

    value: float
    n: int
    stderr: float | None = None
    unscored: int = 0


NOTHING = Value(math.nan, 0)


@dataclass(frozen=True)
class Sight:
    """What a metric may look at.

    rows: the evaluation's own rows. against: rows of the evaluation's second split (non-members, say).
    reference, reference_against: the same two of the retrained model; original, original_against: of the model before
    unlearning. cells: values of this run computed so far, by "<evaluation>/<metric>".
    """

    rows: Rows
    against: Rows | None = None
    reference: Rows | None = None
    reference_against: Rows | None = None
    original: Rows | None = None
    original_against: Rows | None = None
    cells: Mapping[str, Value] = field(default_factory=dict)


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


def is_concrete(candidate: object) -> bool:
    """Whether `candidate` is a metric class that can be constructed."""
    return inspect.isclass(candidate) and issubclass(candidate, Metric) and not inspect.isabstract(candidate)
