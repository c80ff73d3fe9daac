"""The table of a benchmark: means over seeds of finished runs, with the paper's number beside each."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    share the examples, so it does not shrink with them), `unscored` the sum over seeds; `low` and `high` are the ends
    of a run's own interval where there is one and a single run. `paper` is the published
    number; it is compared, and the cell flagged, in the full edition only.

    Where the table has requests, a seed's value is the mean over the requests that have the cell, and what is said of a
    run (n, stderr) is said of the run of one request: requests may share their examples, so nothing shrinks with them.
    The row's `requests` holds the same of every request alone. With the card's `request_rows` every row and request is
    a row `<row>@<request>`, beside the means of original and retrained model.

    Raises UserError for runs of different tables and for two runs of one row, request and seed.
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
    groups = _groups(_by_row(results), plan)
    requests = plan.requests if plan else {}
    listed = [name for row in (plan.rows if plan else ()) for name in (row, *(f"{row}@{asked}" for asked in requests))]
    order = [name for name in listed if name in groups]
    order += sorted((name for name in groups if name not in order), key=lambda name: (name not in ANCHORS, name))
    rows = [_row(name, groups[name], plan, head["edition"]) for name in order]
    compare = {"compare": list(plan.compare)} if plan is not None and plan.compare else {}
    return {"schema": SCHEMA, **head, **compare, "rows": rows}


@dataclass(frozen=True)
class _Group:
    """Runs of a row. start: runs before any request, which say what the row's method and cost are."""

    runs: Sequence[Results]
    start: Sequence[Results] = ()


def _by_row(results: Sequence[Results]) -> dict[str, _Group]:
    groups: dict[str, list[Results]] = {}
    for result in results:
        group, request = groups.setdefault(result["row"], []), result.get("request")
        same = [other for other in group if other.get("request") == request]
        where = f", request {request!r}" if request else ""
        if any(other["seed"] == result["seed"] for other in same):
            raise UserError(
                f"row {result['row']!r}{where} has two runs of seed {result['seed']}. Name one of them only."
            )
        # A request may ask another method of a row (relearning after it), so methods agree within a request.
        other = next((other for other in group if other.get("request") == request), result)
        if other["method"] != result["method"]:
            raise UserError(f"row {result['row']!r}{where} has runs of {other['method']} and of {result['method']}.")
        group.append(result)
    found = {}
    for name, group in groups.items():
        ordered = sorted(group, key=lambda result: result["seed"])
        asked = [result for result in ordered if result.get("request")]
        found[name] = _Group(asked, [r for r in ordered if not r.get("request")]) if asked else _Group(ordered)
    return found


def _groups(rows: Mapping[str, _Group], plan: CardTable | None) -> dict[str, _Group]:
    """Groups by the name of their row in the table: requests apart where the card wants them so."""
    found: dict[str, _Group] = {}
    for name, group in rows.items():
        apart = plan is not None and plan.request_rows and any(run.get("request") for run in group.runs)
        if not apart or name in ANCHORS:
            found[name] = group
        for request in _requests(group.runs, plan) if apart else ():
            found[f"{name}@{request}"] = _Group([r for r in group.runs if r["request"] == request], group.start)
    return found


def _requests(runs: Sequence[Results], plan: CardTable | None) -> list[str]:
    """Requests of the runs, in the card's order."""
    have = {run["request"] for run in runs if run.get("request")}
    listed = [request for request in (plan.requests if plan else ()) if request in have]
    return listed + sorted(have - set(listed))


def _row(name: str, group: _Group, plan: CardTable | None, edition: str) -> dict[str, Any]:
    runs, about = group.runs, group.start or group.runs
    paper = plan.paper.cells.get(name, {}) if plan is not None and plan.paper is not None else {}
    tolerance = plan.paper.tolerance if plan is not None and plan.paper is not None else {}
    cells = {}
    for cell, merged in _cells(name, runs).items():
        flags = set((merged.pop("flag") or "").split(",")) - {""}
        merged["paper"] = paper.get(cell)
        if edition == "full" and _beyond(merged, tolerance.get(cell.rpartition("/")[2])):
            flags.add(BEYOND)
        cells[cell] = merged | {"flag": ",".join(sorted(flags)) or None}
    for cell, number in paper.items():  # published and not measured: the gap shows
        blank = {"value": None, "std": None, "n": 0, "stderr": None, "unscored": 0}
        cells.setdefault(cell, {**blank, "paper": number, "flag": None})
    costs = [run.get("cost") or {} for run in about]
    row = {
        "row": name,
        "method": about[0]["method"],
        "seeds": list(dict.fromkeys(run["seed"] for run in runs)),
        "cells": cells,
        "cost": {field: _mean([c.get(field) for c in costs]) for field in ("seconds", "peak_bytes", "stored_bytes")},
    }
    if any("won" in run for run in runs):  # of attacks: goal by goal, so that attacks can be compared in pairs
        row["won"] = {
            f"{run['seed']}/{run.get('request', '')}/{goal}": hit
            for run in runs
            for goal, hit in run.get("won", {}).items()  # runs of before have none
        }
    requests = _requests(runs, plan) if "@" not in name else []
    if requests:
        row["requests"] = {
            request: {"seeds": [run["seed"] for run in own], "cells": _cells(name, own)}
            for request in requests
            for own in [[run for run in runs if run["request"] == request]]
        }
    return row


def _cells(name: str, runs: Sequence[Results]) -> dict[str, dict[str, Any]]:
    """Cells of a row from its runs, without the paper's numbers."""
    innocent = {NOOP} if is_anchor(name) else set()  # an anchor is expected to equal the model it is compared with
    flags = {flag for run in runs for flag in run.get("flags") or ()}
    found = {}
    for cell in dict.fromkeys(cell for run in runs for cell in run["cells"]):
        by_seed: dict[int, list[Mapping[str, Any]]] = {}
        for run in runs:
            if cell in run["cells"]:
                by_seed.setdefault(run["seed"], []).append(run["cells"][cell])
        merged = _cell(list(by_seed.values()))
        merged["flag"] = ",".join(sorted((flags | merged["flag"]) - innocent)) or None
        found[cell] = merged
    return found


def _cell(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """One cell from its parts: by seed, one part a request."""
    parts = [part for seed in seeds for part in seed]
    values = [value for value in (_mean([part["value"] for part in seed]) for seed in seeds) if value is not None]
    errors = [part["stderr"] for part in parts if _is_number(part.get("stderr"))]
    notes = list(dict.fromkeys(part["note"] for part in parts if part.get("note")))
    several = any(len(seed) > 1 for seed in seeds)
    counted = [part["n"] for part in parts if not several or _is_number(part["value"])]  # requests that have the cell
    ends = {name: parts[0][name] for name in ("low", "high") if len(parts) == 1 and name in parts[0]}
    return {
        **({"note": "; ".join(notes)} if notes else {}),
        **ends,
        "value": _mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": min(counted, default=0),
        "stderr": math.sqrt(statistics.fmean(e * e for e in errors)) if errors else None,
        "unscored": sum(part.get("unscored") or 0 for part in parts),
        "flag": {flag for part in parts if part.get("flag") for flag in part["flag"].split(",")},
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


def is_anchor(name: str) -> bool:
    """Whether a row is the original's or the retrained model's, on all requests or on one."""
    return name.partition("@")[0] in ANCHORS


def anchor_of(table: Table, name: str, anchor: str) -> dict[str, Any] | None:
    """The original's or the retrained model's row that row `name` is compared with: of the same request, if any."""
    request = name.partition("@")[2]
    same = row_of(table, f"{anchor}@{request}") if request else None
    return same if same is not None else row_of(table, anchor)


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
    cells = compared_cells(table)
    found = {}
    for row in table["rows"]:
        gold = anchor_of(table, row["row"], "retrain")
        if gold is None or not cells or row["row"].partition("@")[0] == "retrain":
            continue
        pairs = [(value_of(row, cell), value_of(gold, cell)) for cell in cells]
        apart = [abs(value - other) for value, other in pairs if value is not None and other is not None]
        if len(apart) == len(cells):
            found[row["row"]] = statistics.fmean(apart)
    return found


def nearest(table: Table) -> tuple[str, float] | None:
    """The unlearning method that came nearest to the retrained model, and its mean absolute gap.

    No-op and collapsed rows are left out; None when no row is comparable. Ties go to the row that comes first.
    """
    able = {
        name: gap
        for name, gap in gaps(table).items()
        if not is_anchor(name) and not flags_of(row_of(table, name) or {"cells": {}}) & {NOOP, COLLAPSE}
    }
    if not able:
        return None
    name = min(able, key=lambda key: able[key])
    return name, able[name]


def sentence(table: Table) -> str:
    """Which method came nearest to the retrained model, and how near the original model was."""
    found = nearest(table)
    if found is None:
        if row_of(table, "retrain") is not None and not compared_cells(table):
            return "Nearness to the retrained model is not measured: no cell of it is a rate."
        return "No method can be compared with the retrained model (rows are missing, no-op or collapsed)."
    name, gap = found
    original = gaps(table).get("original")
    aside = f"; the original model's gap is {original:.3f}" if original is not None else ""
    cells = ", ".join(compared_cells(table))
    return f"Nearest to the retrained model: {name}, mean absolute gap {gap:.3f} over {cells}{aside}."
