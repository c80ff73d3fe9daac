"""Benchmark: a card, a reader of its data and a builder of its mini edition that writes what the reader reads."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError

from mmunlearn.cards import Card, Edition, EvaluationPlan, read_card
from mmunlearn.data import Split
from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import Settings, build

T = TypeVar("T")


class Benchmark(ABC):
    """A benchmark. `settings` choose a task or a variant of the splits; file `benchmarks/<name>.py`, class `<Name>`."""

    class Config(Settings):
        """Settings of the benchmark; every field has a default."""

        name: str = ""

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # variant of the splits -> settings that choose it
    # Of the contract checks: builder sizes laid over the card's, settings that fit them, a smaller model, responses
    # made in less time.
    tiny: ClassVar[Mapping[str, Any]] = {}
    tiny_settings: ClassVar[Mapping[str, Any]] = {}
    tiny_model: ClassVar[Mapping[str, Any]] = {}
    tiny_decoding: ClassVar[Mapping[str, Any]] = {}
    known_failures: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: Settings | Mapping[str, Any] | None = None):
        if config is None or isinstance(config, Mapping):
            config = build(type(self).Config, config or {}, f"benchmark[{self.title()}]")
        self.config: Any = config

    @classmethod
    def title(cls) -> str:
        """The registered name: the stem of the file that defines the class."""
        return cls.__module__.rpartition(".")[2]

    @property
    def card(self) -> Card:
        """The benchmark's card."""
        return read_card(self.title())

    def plans(self, table: str) -> tuple[EvaluationPlan, ...]:
        """What is measured for a table: the card's evaluations, and those that the benchmark's settings add."""
        return self.card.plans(table)

    @abstractmethod
    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Splits by name: at least forget, retain, test and unseen (each in file order, ids unique and stable).

        Raises UserError when files are missing or broken, naming file, field, value and remedy. Counts are compared
        with the card's in the full edition (a difference is an error unless the settings allow it).
        """

    def more_splits(self) -> Mapping[str, Split]:
        """Splits that the benchmark's settings add to those of its data: other folders that the user names."""
        return {}

    @abstractmethod
    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """Write the mini edition under `root` in the layout of the full data; deterministic by seed.

        sizes: laid over the card's `editions.mini.data` (by `mini_sizes`); one that the builder has not is a UserError.
        """

    @abstractmethod
    def model(self, edition: Edition) -> dict[str, Any]:
        """Settings of the handle for this task: the card's, plus what the task decides (number of classes, head)."""

    def mini_sizes(self, kind: type[T], over: Mapping[str, Any] | None = None) -> T:
        """The card's `editions.mini.data` with `over` laid over them as the builder's `kind` (Settings or a dataclass).

        Raises UserError for a size that the builder does not know (with near misses) or a value of the wrong type.
        """
        data = {**self.card.editions["mini"].data, **(over or {})}
        where = f"card {self.title()}: editions.mini.data"
        if issubclass(kind, Settings):
            return build(kind, data, where)
        allowed = [field.name for field in fields(kind) if field.init]  # type: ignore[arg-type]  # a dataclass
        for name in data:
            if name not in allowed:
                raise UserError(f"{where}.{name}: the builder has no such size. {near_miss(name, allowed)}")
        try:
            return TypeAdapter(kind).validate_python(data)
        except ValidationError as error:
            fault = error.errors()[0]
            path = ".".join([where, *map(str, fault["loc"])])
            message = fault["msg"][0].lower() + fault["msg"][1:]
            raise UserError(f"{path}: {message} (got {fault['input']!r}).") from None


def check_counts(card: Card, sizes: Mapping[str, int], variant: str, files: Mapping[str, Path], allow: str) -> None:
    """Compare sizes of splits with the card's for `variant`; where it names none, nothing is compared.

    files: where each split comes from. allow: the setting that lets a difference pass, named in the UserError.
    """
    for name, found in sizes.items():
        expected = card.splits[name].count.get(variant)
        path = files[name]
        if expected is None or found == expected:
            continue
        others = [v for v, count in card.splits[name].count.items() if count == found]
        hint = f" That is the number of variant {others[0]}." if others else ""
        raise UserError(
            f"{path}: {found:,} examples for {name}, expected {expected:,} ({variant}).{hint} "
            f"Restore the data, or set {allow}."
        )


def resolve_root(benchmark: Benchmark, edition: Edition, root: Path | None) -> Path:
    """The data's folder: the given one; for the mini edition without one, the cached build (made when missing).

    Raises UserError when the full edition is asked for without a root or the root does not exist.
    """
    from mmunlearn.mini import cached_mini

    if root is not None:
        if not root.is_dir():
            raise UserError(f"{root}: no such folder. {benchmark.title()} needs: {benchmark.card.source.what}")
        return root
    if edition == "full":
        source = benchmark.card.source
        raise UserError(
            f"{benchmark.title()} (full) needs its data. Give --root DIR with {source.what}.\nGet it: {source.get}\n"
            f"Licence: {source.licence}"
        )
    return cached_mini(benchmark)


def is_concrete(candidate: object) -> bool:
    """Whether `candidate` is a benchmark class that can be constructed."""
    return inspect.isclass(candidate) and issubclass(candidate, Benchmark) and not inspect.isabstract(candidate)
