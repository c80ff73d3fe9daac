"""What a card says about its tables: what is measured, which rows and requests there are, what was published."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mmunlearn.settings import Settings

Edition = Literal["mini", "full"]
ROOT = "$root"  # in settings of judges and metrics: the folder of the data
REQUEST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class EvaluationPlan(Settings):
    """One line of what is measured: cells are named "<name>/<metric>".

    split: whose responses are judged. against: a second split (non-members). judge: a judge's name, or a mapping
    {name: …, settings}. metrics: metric names, or mappings {name: …, settings}. attack: an attack whose values become
    further cells. goals: the attack pursues the split's examples as goals; the metrics read what came of them (success,
    candidates …), not responses. section: stands for the name in the cells (several plans may share it).
    beside_original: the judge gets the original model's picture for the same prompt too; the plan waits for one.
    """

    name: str
    split: str = ""
    against: str = ""
    judge: str | dict[str, Any] = "exact"
    metrics: tuple[str | dict[str, Any], ...] = ()
    attack: dict[str, Any] | None = None
    goals: bool = Field(False, exclude_if=lambda value: not value)
    section: str = ""
    beside_original: bool = False

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
        if not backend or (self.judge_name != "model_judge" and "backend" not in self.judge_settings):
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


class Curve(Settings):
    """A figure of the page: a line a row over growing budgets. title: what is shown. x: what the budgets are. points:
    budget -> the cell that was measured at it, or `<cell>@<request>`; without requests in it, a panel each request."""

    title: str
    x: str
    points: dict[float, str] = Field(min_length=2)

    @property
    def requests(self) -> tuple[str, ...]:
        """Requests that the points name, in their order."""
        return tuple(point.partition("@")[2] for point in self.points.values() if "@" in point)


class RowSettings(Settings):
    """Settings of a row's method and where each of them comes from.

    method: of the full edition. requests: laid over them, in both editions, for the table's requests whose name fits
    the pattern ("object_*"); one that names another method stands alone. mini: laid over them for the mini edition.
    presets: laid over by --preset, in both.
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


class AttackWords(Settings):
    """An attack of a table: its settings (with `name`), those of the mini edition laid over them."""

    title: str
    settings: dict[str, Any]
    mini: dict[str, Any] = Field(default_factory=dict)
    from_: dict[str, str] = Field(alias="from")

    def of(self, edition: Edition) -> dict[str, Any]:
        """Settings in an edition."""
        return {**self.settings, **(self.mini if edition == "mini" else {})}

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        if "name" not in self.settings:
            raise ValueError("an attack's settings need a name")
        missing = sorted({*self.settings} - {"name"} - set(self.from_))
        if missing and "*" not in self.from_:
            raise ValueError(f"no `from` for {', '.join(missing)}")
        return self


class Row(RowSettings):
    """A row of a table: a method with its settings."""

    title: str
    notes: str = ""
    editions: tuple[Edition, ...] = ("mini", "full")  # where the row exists (no gold model of a pretrained one, say)
    victim: str = ""  # the row whose finished model this one takes as given; default: its method starts from original
    attack: AttackWords | None = None  # an attack on goals that is run on the row's model

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
    row each. request_editions: which of them an edition runs (all, where it is not named). row_requests: by edition
    and row, the requests for which a costly row runs unless it is asked for by its name. sequential: the requests
    come one after another, each starting from the checkpoint of the one before. after: by request, the earlier one
    from whose models of the same row it starts instead of the original (relearning after unlearning). request_rows: a
    row of the printed table for every row and request (`<row>@<request>`) instead of their mean. attacks, victims:
    every attack is run on the finished model of every victim (a row), as a row `<victim>+<attack>` of its own, behind
    the others. curves: figures of the page.
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
    row_requests: dict[Edition, dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    sequential: bool = False
    after: dict[str, str] = Field(default_factory=dict)
    request_rows: bool = False
    attacks: dict[str, AttackWords] = Field(default_factory=dict)
    victims: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _curves_named(self) -> Self:
        for curve in self.curves:
            unknown = sorted(set(curve.requests) - set(self.requests))
            if unknown:
                raise ValueError(f"curve {curve.title!r}: {unknown[0]!r} is not among the requests")
            if curve.requests and len(curve.requests) < len(curve.points):
                raise ValueError(f"curve {curve.title!r}: every point names a request, or none does")
        return self

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
        order = list(self.requests)
        for name, earlier in self.after.items():
            if self.sequential or name not in order or earlier not in order[: order.index(name)]:
                raise ValueError(f"after.{name}: {earlier!r} must be an earlier request, and the table not sequential")
        for edition, names in self.request_editions.items():
            for name in names:
                if name not in self.requests:
                    raise ValueError(f"request_editions.{edition}: {name!r} is not among the requests")
        for edition, rows in self.row_requests.items():
            for row, names in rows.items():
                if row not in self.rows or row == "original" or set(names) - set(self.requests):
                    raise ValueError(f"row_requests.{edition}.{row}: only other rows and requests of the table")
        return self

    def requests_of(self, edition: Edition) -> tuple[str, ...]:
        """Names of the requests that an edition runs, in the order of the card."""
        chosen = self.request_editions.get(edition, tuple(self.requests))
        return tuple(name for name in self.requests if name in chosen)

    def before(self, request: str) -> tuple[str, ...]:
        """The requests that the models of a request have been through by `after`, in order."""
        earlier = self.after.get(request)
        return () if earlier is None else (*self.before(earlier), earlier)

    def names(self) -> tuple[str, ...]:
        """Names of the rows that the printed table may have: those of `request_rows` too."""
        apart = [f"{row}@{request}" for row in self.rows for request in self.requests] if self.request_rows else []
        return (*self.rows, *apart)


def with_attacks(content: Mapping[str, Any]) -> dict[str, Any]:
    """A card's content with the rows that its tables' `attacks` on `victims` make."""
    tables, rows = content.get("tables"), content.get("rows")
    if not isinstance(tables, Mapping) or not isinstance(rows, Mapping):
        return dict(content)
    rows, made = dict(rows), dict(tables)
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            continue
        attacks, victims = table.get("attacks") or {}, table.get("victims") or ()
        found = {f"{victim}+{attack}": (victim, attack) for victim in victims for attack in attacks}
        for row, (victim, attack) in found.items():
            words, entry = attacks[attack], rows.get(victim)
            if not isinstance(entry, Mapping) or not isinstance(words, Mapping):
                raise ValueError(f"tables.{name}: victim {victim!r} or attack {attack!r} is no entry of the card")
            rows[row] = {
                "title": f"{entry.get('title', victim)} + {words.get('title', attack)}", "method": {"name": "as_given"},
                "victim": victim, "attack": words, "from": {"*": "the victim's row"},
                "editions": entry.get("editions", ("mini", "full")),
            }  # fmt: skip
        made[name] = {**table, "rows": [*table.get("rows", ()), *found]} if found else table
    return {**content, "rows": rows, "tables": made}


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


def check_table(name: str, table: Table) -> None:
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
