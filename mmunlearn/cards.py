"""Benchmark cards: the paper in data. One YAML file a benchmark under `datasets/`, nothing in it executable.

A card says where the data comes from, what the splits are, what is measured, what the paper reports and with which
settings; every number has a `from`.
"""

import copy
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mmunlearn.card_tables import (
    Edition,
    EvaluationPlan,
    Published,
    Row,
    RowSettings,
    Table,
    check_table,
    with_attacks,
)
from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import Settings, build, merge, read_yaml


class Source(Settings):
    """Where the full data comes from and what it looks like on disk.

    kind: archive (a file behind a link), hub (a data set of the Hugging Face hub, `repo`), drive (a shared cloud folder
    that a person opens), folder (the user's own files).
    """

    kind: Literal["archive", "hub", "drive", "folder"]
    repo: str = ""
    what: str  # one line: what must lie under the root
    get: str  # how a person obtains it
    licence: str
    bytes: int | None = None
    revision: str | None = None


class SplitFacts(Settings):
    """One split: its role and, by variant of the data, how many examples it has in the full edition.

    targets_from: another split with the same examples; the original's answers to it are this split's targets.
    """

    role: Literal["forget", "retain", "train", "holdout", "unseen", "utility"]
    what: str
    count: dict[str, int] = Field(default_factory=dict)
    decoding: dict[str, Any] = Field(default_factory=dict)  # laid over Decoding: max_new_tokens, temperature, fields
    targets_from: str = ""
    from_: str = Field(alias="from")


class Weights(Settings):
    """What a pretrained model costs to fetch: bytes of its files, licence as its page states it."""

    bytes: int | None = None
    licence: str
    from_: str = Field(alias="from")


class EditionFacts(Settings):
    """Model, training recipe of original and retrained model, and data sizes of one edition.

    weights: facts about the pretrained models that it names, by name. benchmark: settings of the benchmark, under the
    table's. unlearn: settings laid over the original when a method starts from it (adapters, frozen parts). decoding:
    laid over every split's (a mini model's answers are short). presets: by --preset, laid over the model of every row.
    """

    model: dict[str, Any]
    recipe: dict[str, Any]  # settings of method `retrain`
    data: dict[str, Any] = Field(default_factory=dict)  # the builder's sizes (mini)
    train: dict[str, Any] = Field(default_factory=dict)
    unlearn: dict[str, Any] = Field(default_factory=dict)
    benchmark: dict[str, Any] = Field(default_factory=dict)
    weights: dict[str, Weights] = Field(default_factory=dict)
    decoding: dict[str, Any] = Field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    from_: dict[str, str] = Field(alias="from")


class AttackFacts(Settings):
    """What attacks on models of this benchmark are after: the split of goals, the judge whose value 1 says that the
    forgotten is shown, and what is laid over the decoding of a run's own answers."""

    goals: str = "forget"
    judge: str | dict[str, Any] = ""
    decoding: dict[str, Any] = Field(default_factory=dict)

    @field_validator("judge")
    @classmethod
    def _judge_named(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if not isinstance(value, str) and not isinstance(value.get("name"), str):
            raise ValueError("judge needs a name")
        return value


class Hidden(Settings):
    """A pattern to look for: `answers` as low as the retrained model's while `trace` (a membership score, say) stays
    near the original's. says: the words before the rows that show it."""

    kind: Literal["hidden"]
    says: str
    answers: str
    trace: str


class Collapsed(Settings):
    """A pattern to look for: `utility` below a share of the original's. controls: rows that are no methods and never
    had any (a model that was never trained)."""

    kind: Literal["collapsed"]
    says: str
    utility: str
    below: float = Field(0.5, gt=0, lt=1)
    controls: tuple[str, ...] = ()


class Resists(Settings):
    """A comparison to state whichever way it falls: whether `rows` have a lower mean over `cells` than the row
    `against`. says: what is compared, the sentence's beginning."""

    kind: Literal["resists"]
    says: str
    rows: tuple[str, ...]
    against: str
    cells: tuple[str, ...]


class Ahead(Settings):
    """A comparison to state whichever way it falls: on which victims the row `attack` wins more goals than each of
    `rivals`, attacks on the same goals. says: what is compared, the sentence's beginning."""

    kind: Literal["ahead"]
    says: str
    attack: str
    rivals: tuple[str, ...]


class Disjoint(Settings):
    """A promise about two splits: no id, no picture (`by: content`) or no value of a tag is in both.

    variants: of the data, for which it holds; empty: all.
    """

    splits: tuple[str, str]
    by: str = "id"
    variants: tuple[str, ...] = ()


class Card(Settings):
    """A benchmark card; see the module docstring."""

    name: str
    modality: Literal["vision", "vlm", "diffusion", "tiny"]
    version: int
    title: str
    paper: str
    contains: tuple[str, ...] = ()
    source: Source
    splits: dict[str, SplitFacts]
    variants: dict[str, str] = Field(default_factory=dict)  # name of a split variant -> what it is
    disjoint: tuple[Disjoint, ...] = ()
    labels: dict[int, str] = Field(default_factory=dict)
    editions: dict[Edition, EditionFacts]
    evaluations: tuple[EvaluationPlan, ...]
    table: str  # the default table
    tables: dict[str, Table]
    published: dict[str, Published] = Field(default_factory=dict)
    rows: dict[str, Row]
    presets: dict[str, str] = Field(default_factory=dict)  # name -> what it does
    attack: AttackFacts | None = None
    findings: tuple[Annotated[Hidden | Collapsed | Resists | Ahead, Field(discriminator="kind")], ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _attacked(cls, content: Any) -> Any:
        return with_attacks(content) if isinstance(content, Mapping) else content

    @model_validator(mode="after")
    def _consistent(self) -> "Card":
        if self.table not in self.tables:
            raise ValueError(f"table {self.table!r} is not among tables ({', '.join(self.tables)})")
        for name, table in self.tables.items():
            for row in table.rows:
                if table.requests and "@" in row:
                    raise ValueError(f"tables.{name}.rows: {row!r} has an @, which stands before a request's name")
                if row not in self.rows:
                    raise ValueError(f"tables.{name}.rows: {row!r} has no entry under rows")
            for needed in ("original", "retrain"):
                if needed not in table.rows:
                    raise ValueError(f"tables.{name}.rows lacks {needed!r}")
            check_table(name, table)
        used = {preset for row in self.rows.values() for preset in row.presets}
        used |= {preset for facts in self.editions.values() for preset in facts.presets}
        used |= {
            preset for table in self.tables.values() for part in table.overrides.values() for preset in part.presets
        }
        if used - set(self.presets):
            raise ValueError(f"preset {min(used - set(self.presets))!r} is not described under presets")
        for promise in self.disjoint:
            for split in promise.splits:
                if split not in self.splits:
                    raise ValueError(f"disjoint names split {split!r}, which the card has not")
        if self.attack is not None and self.attack.goals not in self.splits:
            raise ValueError(f"attack.goals names split {self.attack.goals!r}, which the card has not")
        plans = [*self.evaluations, *(plan for table in self.tables.values() for plan in table.evaluations)]
        for plan in plans:
            for split in (plan.split, plan.against):
                if split and split not in self.splits:
                    raise ValueError(f"evaluation {plan.name!r} names split {split!r}, which the card has not")
        for table_name in self.tables:
            names = [plan.name for plan in self.plans(table_name)]
            if len(set(names)) != len(names):
                raise ValueError(f"two evaluations of table {table_name!r} have the same name")
        return self

    def pick_table(self, name: str | None) -> str:
        """The table called `name` (default: the card's); UserError with near misses."""
        if name is None:
            return self.table
        if name not in self.tables:
            raise UserError(f"{self.name} has no table {name!r}. {near_miss(name, self.tables)}")
        return name

    def asked(self, table: str, request: str | None, edition: Edition | None = None) -> dict[str, Any]:
        """Settings of the benchmark for a table and one of its requests (None: none), over those of the edition (None:
        without these); UserError with near misses."""
        entry = self.tables[table]
        under = merge(self.editions[edition].benchmark if edition else {}, entry.benchmark)
        if request is None:
            return under
        if not entry.requests:
            raise UserError(f"{self.name}: table {table!r} has no requests, so there is no {request!r}.")
        if request not in entry.requests:
            raise UserError(
                f"{self.name}: table {table!r} has no request {request!r}. {near_miss(request, entry.requests)}"
            )
        return merge(under, entry.requests[request])

    def plans(self, table: str) -> tuple[EvaluationPlan, ...]:
        """Evaluations of a table."""
        return (*self.evaluations, *self.tables[table].evaluations)

    def method(
        self, row: str, table: str, edition: Edition, preset: str | None = None, request: str | None = None
    ) -> dict[str, Any]:
        """Method settings of a row: the recipe for original and retrained model, then the row's own, the request's and
        the table's (of the edition), then the preset's."""
        if row not in self.rows:
            raise UserError(f"{self.name} has no row {row!r}. {near_miss(row, self.rows)}")
        if preset is not None and preset not in self.presets:
            raise UserError(f"{self.name} has no preset {preset!r}. {near_miss(preset, self.presets)}")
        entry = self.rows[row]
        table_entry = self.tables[table].overrides.get(row)
        parts: list[RowSettings] = [entry, table_entry] if table_entry else [entry]
        layers = [entry.method]
        if edition == "full":
            layers += [part.method for part in parts[1:]]
        asked = [
            over for part in parts for pattern, over in part.requests.items() if fnmatchcase(request or "", pattern)
        ]
        other = next(
            (over for over in reversed(asked) if over.get("name", entry.method["name"]) != entry.method["name"]), None
        )
        if other is not None:
            return copy.deepcopy(other)  # another method than the row's: none of the row's settings are its own
        layers += asked
        if edition == "mini":
            layers += [part.mini for part in parts]
        if preset is not None:
            layers += [part.presets.get(preset, {}) for part in parts]
        # The mini edition of a benchmark with pretrained models names another method for its original (retrain).
        name = next(layer["name"] for layer in reversed(layers) if "name" in layer)
        recipe: dict[str, Any] = dict(self.editions[edition].recipe) if name == "retrain" else {}
        settings = recipe
        for layer in layers:
            if layer.get("name", settings.get("name")) != settings.get("name"):
                settings = recipe  # settings of another method are not this one's
            settings = merge(settings, layer)
        return copy.deepcopy(settings)  # cards are shared

    def model(self, table: str, edition: Edition, preset: str | None = None) -> dict[str, Any]:
        """What a table lays over the edition's model: its own network, in the full edition only; and a preset's."""
        own = dict(self.tables[table].model) if edition == "full" else {}
        return merge(own, self.editions[edition].presets.get(preset or "", {}))

    def unlearn(self, edition: Edition, preset: str | None = None) -> dict[str, Any]:
        """What is laid over the original when a method starts from it, a preset's words included."""
        facts = self.editions[edition]
        return merge(facts.unlearn, facts.presets.get(preset or "", {}))


def with_borrowed(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """A card's content without its key `borrows`: {card: NAME, rows: […], editions: […], splits: […]} takes these
    entries from the card NAME beside it, under its own. Raises UserError for a card or entry that is not there."""
    told = content.pop("borrows", None)
    if told is None:
        return content
    if not isinstance(told, Mapping) or not isinstance(told.get("card"), str):
        raise UserError(f"{path}: borrows holds no card's name. Write borrows: {{card: NAME, rows: [a, b]}}.")
    other = read_yaml(path.parent / f"{told['card']}.yaml")
    for part in ("rows", "editions", "splits"):
        taken = {}
        for name in told.get(part, ()):
            if name not in other.get(part, {}):
                raise UserError(f"{path}: borrows.{part}: {told['card']} has no {name!r}.")
            taken[name] = other[part][name]
        content[part] = merge(taken, content.get(part) or {})
    return content


def card_folders() -> list[Path]:
    """Where cards are looked for: the wheel's `cards`, the checkout's `datasets`, folders in MMUNLEARN_CARDS."""
    package = Path(__file__).parent
    inside, beside = package / "cards", package.parent / "datasets"
    folders = [inside] if inside.is_dir() else [beside] if beside.is_dir() else []
    extra = os.environ.get("MMUNLEARN_CARDS", "")
    return folders + [Path(part) for part in extra.split(os.pathsep) if part]


def card_files() -> Mapping[str, Path]:
    """Card files by name; a later folder's card does not hide an earlier one's."""
    found: dict[str, Path] = {}
    for folder in card_folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def read_card(name: str) -> Card:
    """The card called `name`. Raises UserError with near misses, or naming the file and field that is wrong."""
    files = card_files()
    if name not in files:
        raise UserError(f"benchmark {name!r} has no card. {near_miss(name, files)}")
    return read_card_file(files[name])


def read_card_file(path: Path) -> Card:
    """Read and check one card file; one that has not changed since the last call is not read again."""
    try:
        facts = path.stat()
    except OSError:
        return _read_card_file(path, 0, 0)  # raises what is wrong
    return _read_card_file(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=64)
def _read_card_file(path: Path, _mtime_ns: int, _size: int) -> Card:
    card = build(Card, with_borrowed(read_yaml(path), path), str(path))
    if card.name != path.stem:
        raise UserError(f"{path}: name is {card.name!r}; a card is named like its file.")
    return card
