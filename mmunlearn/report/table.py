"""The table of a benchmark: means over seeds of finished runs, with the paper's number beside each."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mmunlearn.cards import Card
from mmunlearn.cards import Table as CardTable
from mmunlearn.errors import UserError

SCHEMA = 1
ANCHORS = ("original", "retrain")  # rows that are always there and are no unlearning methods
NOOP, COLLAPSE, BEYOND = "noop", "collapse", "beyond_tolerance"
SAME = ("benchmark", "edition", "card_version", "table")  # what all runs of a table share
NEAREST_CELLS = ("test/top1", "forget/top1", "retain/top1", "forget/mia")

Results = Mapping[str, Any]
Table = dict[str, Any]


def build_table(results: Sequence[Results], card: Card | None = None) -> Table:
    """The content of table.json from the runs' results; `card` gives the order of rows and the paper's numbers.

    A cell's value is the mean over seeds, `std` their sample standard deviation (None for one seed), `n` the examples
    counted in a run (the smallest over seeds), `stderr` the root mean square of the runs' standard errors (the seeds
    share the examples, so it does not shrink with them), `unscored` the sum over seeds. `paper` is the published
    number; it is compared, and the cell flagged, in the full edition only. Raises UserError for runs of different
    tables and for two runs of one row and seed.
    """
    if not results:
        raise UserError("No finished run to make a table of.")
    head = {name: results[0][name] for name in SAME}
    for other in results[1:]:
        for name in SAME:
            if other[name] != head[name]:
                raise UserError(
                    f"runs {results[0]['row']!r} and {other['row']!r} differ in {name} ({head[name]!r}, "
                    f"{other[name]!r}); one table holds runs of one {name}."
                )
    plan = card.tables.get(str(head["table"])) if card is not None else None
    if card is not None and plan is None:
        raise UserError(f"{card.name} has no table {head['table']!r}; the runs were made with another card.")
    groups = _by_row(results)
    order = [name for name in (plan.rows if plan else ()) if name in groups]
    order += sorted((name for name in groups if name not in order), key=lambda name: (name not in ANCHORS, name))
    rows = [_row(name, groups[name], plan, head["edition"]) for name in order]
    compare = {"compare": list(plan.compare)} if plan is not None and plan.compare else {}
    return {"schema": SCHEMA, **head, **compare, "rows": rows}


def _by_row(results: Sequence[Results]) -> dict[str, list[Results]]:
    groups: dict[str, list[Results]] = {}
    for result in results:
        group = groups.setdefault(result["row"], [])
        if any(other["seed"] == result["seed"] for other in group):
            raise UserError(f"row {result['row']!r} has two runs of seed {result['seed']}. Name one of them only.")
        if group and group[0]["method"] != result["method"]:
            raise UserError(f"row {result['row']!r} has runs of {group[0]['method']} and of {result['method']}.")
        group.append(result)
    return {name: sorted(group, key=lambda result: result["seed"]) for name, group in groups.items()}


def _row(name: str, runs: Sequence[Results], plan: CardTable | None, edition: str) -> dict[str, Any]:
    names = list(dict.fromkeys(cell for run in runs for cell in run["cells"]))
    innocent = {NOOP} if name in ANCHORS else set()  # an anchor is expected to equal the model it is compared with
    flags = {flag for run in runs for flag in run.get("flags") or ()}
    paper = plan.paper.cells.get(name, {}) if plan is not None and plan.paper is not None else {}
    tolerance = plan.paper.tolerance if plan is not None and plan.paper is not None else {}
    cells = {}
    for cell in names:
        merged = _cell([run["cells"][cell] for run in runs if cell in run["cells"]])
        merged["paper"] = paper.get(cell)
        own = merged.pop("flags")
        if edition == "full" and _beyond(merged, tolerance.get(cell.rpartition("/")[2])):
            own.add(BEYOND)
        merged["flag"] = ",".join(sorted((flags | own) - innocent)) or None
        cells[cell] = merged
    for cell, number in paper.items():  # published and not measured: the gap shows
        blank = {"value": None, "std": None, "n": 0, "stderr": None, "unscored": 0}
        cells.setdefault(cell, {**blank, "paper": number, "flag": None})
    costs = [run.get("cost") or {} for run in runs]
    cost = {field: _mean([c.get(field) for c in costs]) for field in ("seconds", "peak_bytes", "stored_bytes")}
    return {
        "row": name,
        "method": runs[0]["method"],
        "seeds": [run["seed"] for run in runs],
        "cells": cells,
        "cost": cost,
    }


def _cell(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [part["value"] for part in parts if _is_number(part["value"])]
    errors = [part["stderr"] for part in parts if _is_number(part.get("stderr"))]
    notes = list(dict.fromkeys(part["note"] for part in parts if part.get("note")))
    return {
        **({"note": "; ".join(notes)} if notes else {}),
        "value": _mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": min((part["n"] for part in parts), default=0),
        "stderr": math.sqrt(statistics.fmean(e * e for e in errors)) if errors else None,
        "unscored": sum(part.get("unscored") or 0 for part in parts),
        "flags": {flag for part in parts if part.get("flag") for flag in part["flag"].split(",")},
    }


def _mean(values: Sequence[Any]) -> float | None:
    numbers = [value for value in values if _is_number(value)]
    return statistics.fmean(numbers) if numbers else None


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def _beyond(cell: Mapping[str, Any], tolerance: float | None) -> bool:
    if tolerance is None or cell["paper"] is None or cell["value"] is None:
        return False
    return abs(cell["value"] - cell["paper"]) > tolerance + 1e-12


def row_of(table: Table, name: str) -> dict[str, Any] | None:
    """The row called `name`, or None."""
    return next((row for row in table["rows"] if row["row"] == name), None)


def flags_of(row: Mapping[str, Any]) -> set[str]:
    """All flags of a row's cells."""
    return {flag for cell in row["cells"].values() if cell["flag"] for flag in cell["flag"].split(",")}


def value_of(row: Mapping[str, Any], cell: str) -> float | None:
    """The row's value of a cell; None where it was not measured."""
    return row["cells"].get(cell, {}).get("value")


def compared_cells(table: Table) -> tuple[str, ...]:
    """Cells by which rows are compared with the retrained model: the card's choice, else those of NEAREST_CELLS that
    it has.

    A table that has none of them (another modality) is compared by all cells of the retrained model within 0..1.
    """
    gold = row_of(table, "retrain")
    if gold is None:
        return ()
    wanted = table.get("compare") or NEAREST_CELLS
    usual = tuple(cell for cell in wanted if value_of(gold, cell) is not None)
    if usual:
        return usual
    values = ((cell, value_of(gold, cell)) for cell in gold["cells"])
    return tuple(cell for cell, value in values if value is not None and 0 <= value <= 1)


def gaps(table: Table) -> dict[str, float]:
    """Mean absolute difference from the retrained model over `compared_cells`, by row (not for rows that lack one)."""
    gold, cells = row_of(table, "retrain"), compared_cells(table)
    found = {}
    for row in table["rows"]:
        values = [value_of(row, cell) for cell in cells]
        if gold is None or row is gold or not cells or any(value is None for value in values):
            continue
        found[row["row"]] = statistics.fmean(
            abs(value - gold["cells"][cell]["value"]) for cell, value in zip(cells, values, strict=True)
        )
    return found


def nearest(table: Table) -> tuple[str, float] | None:
    """The unlearning method that came nearest to the retrained model, and its mean absolute gap.

    No-op and collapsed rows are left out; None when no row is comparable. Ties go to the row that comes first.
    """
    able = {
        name: gap
        for name, gap in gaps(table).items()
        if name not in ANCHORS and not flags_of(row_of(table, name) or {"cells": {}}) & {NOOP, COLLAPSE}
    }
    if not able:
        return None
    name = min(able, key=lambda key: able[key])
    return name, able[name]


def sentence(table: Table) -> str:
    """Which method came nearest to the retrained model, and how near the original model was."""
    found = nearest(table)
    if found is None:
        return "No method can be compared with the retrained model (rows are missing, no-op or collapsed)."
    name, gap = found
    original = gaps(table).get("original")
    aside = f"; the original model's gap is {original:.3f}" if original is not None else ""
    cells = ", ".join(compared_cells(table))
    return f"Nearest to the retrained model: {name}, mean absolute gap {gap:.3f} over {cells}{aside}."
