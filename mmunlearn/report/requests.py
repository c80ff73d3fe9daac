"""Every request's own figures, for the page: what the table shows the mean of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmunlearn.report.shown import Shown, ShownCell, shown_cell
from mmunlearn.report.table import Table


@dataclass(frozen=True)
class RequestTable:
    """Figures of one row of the table: a line a request, with its number of seeds."""

    row: str
    title: str
    lines: tuple[tuple[str, tuple[ShownCell, ...], int], ...]


def request_tables(table: Table, view: Shown) -> list[RequestTable]:
    """One table a row that has requests, with the columns of `view`; no paper's numbers, which are of the means."""
    found = []
    for row, shown in zip(table["rows"], view.rows, strict=True):
        lines = tuple(
            (
                name,
                tuple(
                    ShownCell("–", "", "", "", "", False)
                    if column.published_only
                    else shown_cell(_without_paper(facts["cells"].get(column.cell)), column, str(table["edition"]))
                    for column in view.columns
                ),
                len(facts["seeds"]),
            )
            for name, facts in row.get("requests", {}).items()
        )
        if lines:
            found.append(RequestTable(row["row"], shown.title, lines))
    return found


def _without_paper(cell: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return None if cell is None else {**cell, "paper": None}
