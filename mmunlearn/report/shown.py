"""What a printed table shows: formatted cells, marks and footnotes, the same for every format."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmunlearn import registry
from mmunlearn.card_tables import Column
from mmunlearn.cards import Card
from mmunlearn.errors import UserError
from mmunlearn.report.findings import findings
from mmunlearn.report.table import ANCHORS, BEYOND, COLLAPSE, NOOP, Table, flags_of, nearest, value_of

MARKS = {NOOP: "°", COLLAPSE: "‡", BEYOND: "!"}
UNSCORED = "†"
MEANING = {
    NOOP: "no-op: weights or outputs are those of the original model, so nothing was unlearned",
    COLLAPSE: "collapsed: the model answers with (almost) one class or degenerate output",
    BEYOND: "differs from the paper's number by more than the card's tolerance",
}


@dataclass(frozen=True)
class ShownColumn:
    """A column: `factor` is 100 where the cell is a fraction, which is printed as percent.

    has_paper: the paper's numbers stand beside ours; published_only: they stand alone.
    """

    cell: str
    title: str
    better: str
    factor: float
    unit: str
    has_paper: bool
    published_only: bool = False


@dataclass(frozen=True)
class ShownCell:
    """Texts of a cell; `mark` holds footnote signs, `difference` ours minus the paper's (full edition only), `interval`
    the ends of a 95 % interval of its own (a rate over few goals)."""

    value: str
    spread: str
    paper: str
    difference: str
    mark: str
    flagged: bool
    interval: str = ""

    @property
    def text(self) -> str:
        """Value, spread, interval and marks in one string."""
        spread = f" ± {self.spread}" if self.spread else f" [{self.interval}]" if self.interval else ""
        return self.value + spread + self.mark


@dataclass(frozen=True)
class ShownRow:
    """A row: its title as in the paper, name, number of seeds and requests and cells in the order of the columns."""

    name: str
    title: str
    method: str
    seeds: int
    flags: tuple[str, ...]
    cells: tuple[ShownCell, ...]
    cost: Mapping[str, str]
    nearest: bool
    requests: int = 0  # how many a cell is the mean of at most; 0 where the table has none


@dataclass(frozen=True)
class Shown:
    """A whole table, ready to be laid out."""

    title: str
    subtitle: str
    columns: tuple[ShownColumn, ...]
    rows: tuple[ShownRow, ...]
    footnotes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def has_paper(self) -> bool:
        """Whether any number of the paper stands beside ours."""
        return any(column.has_paper for column in self.columns)

    @property
    def has_requests(self) -> bool:
        """Whether cells are means over requests."""
        return any(row.requests for row in self.rows)


def shown(table: Table, card: Card | None = None) -> Shown:
    """The printed form of `table`; without a card every measured cell is a column."""
    plan = card.tables.get(str(table["table"])) if card is not None else None
    columns = tuple(_column(column, table, card) for column in (plan.columns if plan else _all_columns(table)))
    best = nearest(table)
    rows = tuple(_row(row, columns, card, table["edition"], best[0] if best else "") for row in table["rows"])
    title = plan.title if plan else f"{table['benchmark']}, table {table['table']}"
    subtitle = f"{table['benchmark']}, {table['edition']} edition, table {table['table']}, card version "
    return Shown(title, subtitle + str(table["card_version"]), columns, rows, tuple(_footnotes(table, card, rows)))


def _all_columns(table: Table) -> list[Column]:
    names = dict.fromkeys(cell for row in table["rows"] for cell in row["cells"])
    return [Column(cell=name, title=name) for name in names]


def _column(column: Column, table: Table, card: Card | None) -> ShownColumn:
    unit = column.unit if column.unit is not None else unit_of(column.cell, card, str(table["table"]))
    has_paper = not column.published_only and any(
        row["cells"].get(column.cell, {}).get("paper") is not None for row in table["rows"]
    )
    fraction = unit == "fraction"
    return ShownColumn(
        cell=column.cell,
        title=column.title + (" (paper)" if column.published_only else ""),
        better=column.better,
        factor=100.0 if fraction else 1.0,
        unit="%" if fraction else unit,
        has_paper=has_paper,
        published_only=column.published_only,
    )


def unit_of(cell: str, card: Card | None, table: str) -> str:
    """Unit of a cell: its metric's, "fraction" for what is no metric (an attack's success, say)."""
    evaluation, _, title = cell.rpartition("/")
    name = title
    if card is not None and table in card.tables:
        for plan in card.plans(table):
            for wanted in plan.metrics if plan.prefix == evaluation else ():
                if isinstance(wanted, Mapping) and wanted.get("as", wanted.get("name")) == title:
                    name = str(wanted["name"])
    try:
        return registry.load("metrics", name, card.modality if card is not None else None).unit  # type: ignore[attr-defined]
    except UserError:
        return "fraction"


def number(value: float | None, factor: float) -> str:
    """A number as printed: percent with one decimal, other units with three significant digits; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if factor != 1.0:
        text = f"{value * factor:.1f}"
        return "0.0" if text == "-0.0" else text.replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def _row(
    row: Mapping[str, Any], columns: Sequence[ShownColumn], card: Card | None, edition: str, best: str
) -> ShownRow:
    name, _, request = row["row"].partition("@")
    entry = (card.rows.get(row["row"]) or card.rows.get(name)) if card is not None else None
    suffix = f", {request}" if entry is not None and request and row["row"] not in card.rows else ""  # type: ignore[union-attr]
    cost = row["cost"]
    return ShownRow(
        name=row["row"],
        title=f"{entry.title}{suffix}" if entry else row["row"],
        method=row["method"],
        seeds=len(row["seeds"]),
        flags=tuple(sorted(flags_of(row))),
        cells=tuple(shown_cell(row["cells"].get(column.cell), column, edition) for column in columns),
        cost={
            "seconds": seconds(cost.get("seconds")),
            "peak": size(cost.get("peak_bytes")),
            "stored": size(cost.get("stored_bytes")),
        },
        nearest=row["row"] == best,
        requests=len(row.get("requests", ())),
    )


def shown_cell(cell: Mapping[str, Any] | None, column: ShownColumn, edition: str) -> ShownCell:
    """A cell of table.json in words."""
    if cell is None:
        return ShownCell("–", "", "", "", "", False)
    if column.published_only:
        return ShownCell(number(cell["paper"], column.factor), "", "", "", "", False)
    flags = set((cell["flag"] or "").split(",")) - {""}
    mark = "".join(sign for flag, sign in MARKS.items() if flag in flags) + (UNSCORED if cell["unscored"] else "")
    difference = ""
    if edition == "full" and cell["paper"] is not None and cell["value"] is not None:
        gap = number(cell["value"] - cell["paper"], column.factor)
        difference = gap if gap.startswith("−") else f"+{gap}"
    return ShownCell(
        value=number(cell["value"], column.factor),
        spread=number(cell["std"], column.factor) if cell["std"] is not None else "",
        paper=number(cell["paper"], column.factor) if cell["paper"] is not None else "",
        difference=difference,
        mark=mark,
        flagged=bool(flags),
        interval=f"{cell['low'] * column.factor:.0f}–{cell['high'] * column.factor:.0f}" if "low" in cell else "",
    )


def seconds(value: float | None) -> str:
    """A duration: 0.8 s, 42 s, 3 min 05 s, 2 h 10 min."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(value: float | None) -> str:
    """Bytes in powers of 1024 with one decimal: 512 B, 43.7 MiB."""
    if value is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _footnotes(table: Table, card: Card | None, rows: Sequence[ShownRow]) -> list[str]:
    notes = []
    counts = {row.seeds for row in rows}
    if counts == {1}:
        notes.append("n = 1: one seed a row, so there is no ± (the spread over seeds).")
    elif len(counts) == 1:
        notes.append(f"Mean ± standard deviation over {counts.pop()} seeds.")
    else:
        by_count = {count: [row.name for row in rows if row.seeds == count] for count in sorted(counts)}
        listed = "; ".join(f"n = {count}: {', '.join(names)}" for count, names in by_count.items())
        notes.append(f"Mean ± standard deviation over seeds. Seeds: {listed}.")
    plan = card.tables.get(str(table["table"])) if card is not None else None
    notes += _request_notes(table, [column.cell for column in (plan.columns if plan else _all_columns(table))])
    if plan is None or any(column.better == "closer" for column in plan.columns):
        notes.append("↑ higher, ↓ lower, → nearer to the retrained model is better; rates in percent.")
    notes += findings(table, card)
    notes += _paper_notes(table, card)
    present = {flag for row in rows for flag in row.flags}
    notes += [f"{sign} {MEANING[flag]}." for flag, sign in MARKS.items() if flag in present]
    unscored = {
        f"{row['row']} {cell}": facts["unscored"]
        for row in table["rows"]
        for cell, facts in row["cells"].items()
        if facts["unscored"]
    }
    if unscored:
        listed = "; ".join(f"{where}: {count}" for where, count in list(unscored.items())[:6])
        more = f"; and {len(unscored) - 6} more cells" if len(unscored) > 6 else ""
        notes.append(f"{UNSCORED} responses that could not be scored are left out: {listed}{more}.")
    absent = [name for name in ANCHORS if name not in {row.name for row in rows}]
    if absent:
        notes.append(f"Without {' and '.join(absent)}: the table cannot say how near a method comes to it.")
    said = {cell: facts["note"] for row in table["rows"] for cell, facts in row["cells"].items() if facts.get("note")}
    notes += [f"{cell}: {text}." for cell, text in said.items()]
    examples = {cell: facts["n"] for row in table["rows"][:1] for cell, facts in row["cells"].items() if facts["n"]}
    if examples:
        notes.append("Examples counted: " + ", ".join(f"{cell} {n:,}" for cell, n in examples.items()) + ".")
    return notes


def _request_notes(table: Table, cells: Sequence[str]) -> list[str]:
    """What a mean over requests is the mean of; a sentence for cells that only some requests have."""
    rows = [row for row in table["rows"] if row.get("requests")]
    if not rows:
        return []
    most = max(len(row["requests"]) for row in rows)
    notes = [
        "A cell is the mean over the requests that have it, taken in each seed; what is counted (n) and the standard "
        "error are those of one request."
    ]
    counts = {
        cell: max(sum(value_of(facts, cell) is not None for facts in row["requests"].values()) for row in rows)
        for cell in cells
    }
    some = [f"{cell} {count}" for cell, count in counts.items() if 0 < count < most]
    if some:
        notes.append(f"Requests: {most}; of these have {', '.join(some)}.")
    fewer = [f"{row['row']} {len(row['requests'])}" for row in rows if len(row["requests"]) < most]
    if fewer:
        notes.append(f"Rows with fewer requests than {most}: {', '.join(fewer)}.")
    return notes


def _paper_notes(table: Table, card: Card | None) -> list[str]:
    plan = card.tables.get(str(table["table"])) if card is not None else None
    if plan is None or plan.paper is None:
        return []
    notes = [f"Paper: {plan.paper.from_}."]
    if table["edition"] != "full":
        notes.append(
            f"The {table['edition']} edition has other data and another model: the paper's numbers stand beside ours "
            "for orientation and are not compared."
        )
    named = {row["row"] for row in table["rows"]} | {column.cell for column in plan.columns}
    return notes + [f"{key}: {text}" for key, text in plan.paper.footnotes.items() if key in named]
