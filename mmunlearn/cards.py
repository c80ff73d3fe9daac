"""Benchmark cards: the paper in data. One YAML file a benchmark under `datasets/`, nothing in it executable.

A card says where the data comes from, what the splits are, what is measured, what the paper reports and with which
settings; every number has a `from`.
"""

import copy
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import Settings, build, merge, read_yaml

Edition = Literal["mini", "full"]
ROOT = "$root"  # in settings of judges and metrics: the folder of the data
REQUEST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


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


class EvaluationPlan(Settings):
    """One line of what is measured: cells are named "<name>/<metric>".

    split: whose responses are judged. against: a second split (non-members). judge: a judge's name, or a mapping
    {name: …, settings}. metrics: metric names, or mappings {name: …, settings}. attack: an attack whose values become
    further cells. section: stands for the name in the cells (several plans may share it).
    """

    name: str
    split: str = ""
    against: str = ""
    judge: str | dict[str, Any] = "exact"
    metrics: tuple[str | dict[str, Any], ...] = ()
    attack: dict[str, Any] | None = None
    section: str = ""

    @field_validator("judge")
    @classmethod
    def _judge_named(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if not isinstance(value, str) and not isinstance(value.get("name"), str):
            raise ValueError("judge needs a name")
        return value

    @property
    def prefix(self) -> str:
        """What the plan's cells begin with."""
        return self.section or self.name

    def with_backend(self, backend: dict[str, Any]) -> Self:
        """The same plan with another backend of its model judge; plans whose judge is a rule stay as they are."""
        if not backend or self.judge_name != "model_judge":
            return self
        return self.model_copy(update={"judge": {"name": self.judge_name, **self.judge_settings, "backend": backend}})

    def at(self, root: str | None) -> Self:
        """The same plan with the data's folder in the place of `$root` in settings of judge and metrics ("" for a mini
        edition from the cache)."""
        judge, metrics = _filled(self.judge, root or ""), _filled(self.metrics, root or "")
        return self.model_copy(update={"judge": judge, "metrics": metrics})

    @property
    def judge_name(self) -> str:
        """Registered name of the plan's judge."""
        return self.judge if isinstance(self.judge, str) else self.judge["name"]

    @property
    def judge_settings(self) -> dict[str, Any]:
        """Settings of the plan's judge, without its name."""
        return {} if isinstance(self.judge, str) else {k: v for k, v in self.judge.items() if k != "name"}


def _filled(value: Any, root: str) -> Any:
    """`value` with `root` for every `$root` in it."""
    if isinstance(value, Mapping):
        return {key: _filled(part, root) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_filled(part, root) for part in value)
    return root if value == ROOT else value


class Paper(Settings):
    """A published table: cells by row. Only what a source states; never an unverified number."""

    cells: dict[str, dict[str, float]]
    tolerance: dict[str, float] = Field(default_factory=dict)  # by metric's last name: beyond it a cell is flagged
    from_: str = Field(alias="from")
    footnotes: dict[str, str] = Field(default_factory=dict)  # row or cell -> text


class Column(Settings):
    """A cell that the printed table shows. published_only: the paper has it and this suite does not measure it the
    same way (an attack of its own, say), so only the published number appears. unit: None for the metric's own, which
    is a fraction (printed as percent) where no metric of that name exists."""

    cell: str
    title: str
    better: Literal["higher", "lower", "closer"] = "closer"
    published_only: bool = False
    unit: str | None = None


class RowSettings(Settings):
    """Settings of a row's method and where each of them comes from.

    method: of the full edition. requests: laid over them, in both editions, for the table's requests whose name fits
    the pattern ("object_*"). mini: laid over them for the mini edition. presets: laid over by --preset, in both.
    """

    method: dict[str, Any] = Field(default_factory=dict)
    from_: dict[str, str] = Field(alias="from")
    requests: dict[str, dict[str, Any]] = Field(default_factory=dict)
    mini: dict[str, Any] = Field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        parts = (self.method, *self.requests.values(), *self.presets.values())
        keys = {key for part in parts for key in part} - {"name"}
        missing = sorted(keys - set(self.from_))
        if missing and "*" not in self.from_:
            raise ValueError(f"no `from` for {', '.join(missing)}")
        return self


class Row(RowSettings):
    """A row of a table: a method with its settings."""

    title: str
    notes: str = ""
    editions: tuple[Edition, ...] = ("mini", "full")  # where the row exists (no gold model of a pretrained one, say)

    @field_validator("method")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "name" not in value:
            raise ValueError("method needs a name")
        return value


class Table(Settings):
    """One table that `reproduce` makes: what task, which rows in which order, which cells, what was published.

    overrides: by row, laid over the row's settings for this table (`method` in the full edition, `mini` in the mini
    edition, `presets` in both). model: laid over the full edition's model. compare: cells by which rows are compared
    with the retrained model.

    requests: what is asked to be forgotten, by name: settings of the benchmark laid over the table's, one run of every
    row each. request_editions: which of them an edition runs (all, where it is not named). sequential: the requests
    come one after another, each starting from the checkpoint of the one before. request_rows: a row of the printed
    table for every row and request (`<row>@<request>`) instead of their mean.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    benchmark: dict[str, Any] = Field(default_factory=dict)  # settings of the benchmark (task, split variant)
    evaluations: tuple[EvaluationPlan, ...] = ()  # in addition to the card's
    paper: Paper | None = None
    overrides: dict[str, RowSettings] = Field(default_factory=dict)
    model: dict[str, Any] = Field(default_factory=dict)
    compare: tuple[str, ...] = ()
    requests: dict[str, dict[str, Any]] = Field(default_factory=dict)
    request_editions: dict[Edition, tuple[str, ...]] = Field(default_factory=dict)
    sequential: bool = False
    request_rows: bool = False
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _requests_named(self) -> Self:
        for option in ("sequential", "request_rows"):
            if getattr(self, option) and not self.requests:
                raise ValueError(f"{option} is set and there are no requests")
        for name, settings in self.requests.items():
            if not REQUEST_NAME.fullmatch(name):
                raise ValueError(f"request {name!r} becomes part of a folder's name: letters, digits and . _ + - only")
            if not settings or "name" in settings:
                raise ValueError(f"request {name!r} holds settings of the benchmark other than its name")
        for edition, names in self.request_editions.items():
            for name in names:
                if name not in self.requests:
                    raise ValueError(f"request_editions.{edition}: {name!r} is not among the requests")
        return self

    def requests_of(self, edition: Edition) -> tuple[str, ...]:
        """Names of the requests that an edition runs, in the order of the card."""
        chosen = self.request_editions.get(edition, tuple(self.requests))
        return tuple(name for name in self.requests if name in chosen)

    def names(self) -> tuple[str, ...]:
        """Names of the rows that the printed table may have: those of `request_rows` too."""
        apart = [f"{row}@{request}" for row in self.rows for request in self.requests] if self.request_rows else []
        return (*self.rows, *apart)


class Published(Settings):
    """A published table that this suite does not make: other methods, another task. Printed with the card."""

    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]
    from_: str = Field(alias="from")
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        for name, cells in self.rows.items():
            if len(cells) != len(self.columns):
                raise ValueError(f"row {name!r} has {len(cells)} cells for {len(self.columns)} columns")
        return self


class Weights(Settings):
    """What a pretrained model costs to fetch: bytes of its files, licence as its page states it."""

    bytes: int | None = None
    licence: str
    from_: str = Field(alias="from")


class EditionFacts(Settings):
    """Model, training recipe of original and retrained model, and data sizes of one edition.

    weights: facts about the pretrained models that it names, by name.
    unlearn: settings laid over the original when a method starts from it (adapters, frozen parts). decoding: laid over
    every split's (a mini model's answers are short). presets: by --preset, laid over the model of every row.
    """

    model: dict[str, Any]
    recipe: dict[str, Any]  # settings of method `retrain`
    data: dict[str, Any] = Field(default_factory=dict)  # the builder's sizes (mini)
    train: dict[str, Any] = Field(default_factory=dict)
    unlearn: dict[str, Any] = Field(default_factory=dict)
    weights: dict[str, Weights] = Field(default_factory=dict)
    decoding: dict[str, Any] = Field(default_factory=dict)
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    from_: dict[str, str] = Field(alias="from")


class Hidden(Settings):
    """A pattern to look for: `answers` as low as the retrained model's while `trace` (a membership score, say) stays
    near the original's. says: the words before the rows that show it."""

    kind: Literal["hidden"]
    says: str
    answers: str
    trace: str


class Collapsed(Settings):
    """A pattern to look for: `utility` below a share of the original's."""

    kind: Literal["collapsed"]
    says: str
    utility: str
    below: float = Field(0.5, gt=0, lt=1)


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
    findings: tuple[Annotated[Hidden | Collapsed, Field(discriminator="kind")], ...] = ()
    notes: tuple[str, ...] = ()

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
            _check_table(name, table)
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

    def asked(self, table: str, request: str | None) -> dict[str, Any]:
        """Settings of the benchmark for a table and one of its requests (None: none); UserError with near misses."""
        entry = self.tables[table]
        if request is None:
            return dict(entry.benchmark)
        if not entry.requests:
            raise UserError(f"{self.name}: table {table!r} has no requests, so there is no {request!r}.")
        if request not in entry.requests:
            raise UserError(
                f"{self.name}: table {table!r} has no request {request!r}. {near_miss(request, entry.requests)}"
            )
        return merge(entry.benchmark, entry.requests[request])

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
        for part in parts:
            layers += [over for pattern, over in part.requests.items() if fnmatchcase(request or "", pattern)]
        if edition == "mini":
            layers += [part.mini for part in parts]
        if preset is not None:
            layers += [part.presets.get(preset, {}) for part in parts]
        # The mini edition of a benchmark with pretrained models names another method for its original (retrain).
        name = next(layer["name"] for layer in reversed(layers) if "name" in layer)
        settings: dict[str, Any] = dict(self.editions[edition].recipe) if name == "retrain" else {}
        for layer in layers:
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


def _check_table(name: str, table: Table) -> None:
    """Overrides and published cells name rows and columns of the table."""
    for row in table.overrides:
        if row not in table.rows:
            raise ValueError(f"tables.{name}.overrides: {row!r} is not among the table's rows")
    if table.paper is None:
        return
    known = {column.cell for column in table.columns}
    for row, cells in table.paper.cells.items():
        if row not in table.names():
            raise ValueError(f"tables.{name}.paper.cells: {row!r} is not among the table's rows")
        for cell in cells:
            if cell not in known:
                raise ValueError(f"tables.{name}.paper.cells.{row}: {cell!r} is not a column")


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
    card = build(Card, read_yaml(path), str(path))
    if card.name != path.stem:
        raise UserError(f"{path}: name is {card.name!r}; a card is named like its file.")
    return card
