"""The report as one self-contained HTML page: table, plots, attacks, pictures, costs and where it all comes from."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mmunlearn import __version__
from mmunlearn.cards import Card
from mmunlearn.data import Example
from mmunlearn.report import plots
from mmunlearn.report.attacks import attack_tables, curves
from mmunlearn.report.budget_curves import curve_figures
from mmunlearn.report.confusion import confusions
from mmunlearn.report.grids import picture_grids
from mmunlearn.report.requests import request_tables
from mmunlearn.report.runs import Finished
from mmunlearn.report.shown import Shown, shown
from mmunlearn.report.strips import Strip, make_strip
from mmunlearn.report.table import (
    ANCHORS,
    COLLAPSE,
    NOOP,
    Table,
    flags_of,
    is_anchor,
    nearest,
    row_of,
    sentence,
    value_of,
)
from mmunlearn.report.text import ARROWS

TEMPLATES = Path(__file__).parent.parent / "templates"
Pictures = Mapping[str, Sequence[Example]]


def page(table: Table, card: Card, runs: Sequence[Finished], pictures: Pictures | None = None) -> str:
    """The HTML page of `table` made from `runs`; `pictures` are examples by split, shown with the models' answers."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    view = shown(table, card)
    titles = {row.name: row.title for row in view.rows}
    first = first_seeds(runs, table)
    relearned, axis = curves(first)
    plan = card.tables.get(str(table["table"]))
    context: dict[str, Any] = {
        "table": table,
        "view": view,
        "card": card,
        "arrows": ARROWS,
        "sentence": sentence(table),
        "headline": _headline(table, titles),
        "scatter": _scatter(table, view, titles),
        "histograms": plots.loss_histograms(losses(first, card), titles),
        "ranking": plots.distance_ranking(table, titles),
        "attacks": attack_tables(first, titles),
        "relearn": plots.relearn_curves(relearned, axis, titles),
        "curves": curve_figures(table, plan, {name: row.title for name, row in card.rows.items()}) if plan else [],
        "grids": picture_grids(runs, table, card, titles),
        "confusions": confusions(_shown_models(table, first), str(table["table"]), card, titles),
        "strips": _strips(table, card, first, titles, pictures or {}),
        "faces": "faces" in card.contains,
        "seed": min((run.seed for run in runs), default=0),
        "provenance": [_provenance(run) for run in sorted(runs, key=lambda run: (run.row, run.request, run.seed))],
        "version": __version__,
        "anchors": ANCHORS,
        "requests": request_tables(table, view),
        "request": _first_request(table) if not any("@" in row["row"] for row in table["rows"]) else "",
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(context)


def first_seeds(runs: Sequence[Finished], table: Table) -> dict[str, Finished]:
    """The run of each row's smallest seed (and first request), in the order of the table."""
    found: dict[str, Finished] = {}
    for row in table["rows"]:
        name, _, request = row["row"].partition("@")
        own = [run for run in runs if run.row == row["row"]] or [run for run in runs if run.row == name]
        # A run before any request is the start of the others and has no line of its own.
        wanted = [request] if request else list(row.get("requests", ()))
        own = [run for run in own if run.request in wanted] if wanted and any(run.request for run in own) else own
        if own:
            order = {name: place for place, name in enumerate(wanted)}
            found[row["row"]] = min(own, key=lambda run: (order.get(run.request, 0), run.seed))
    return found


def _first_request(table: Table) -> str:
    return next((next(iter(row["requests"])) for row in table["rows"] if row.get("requests")), "")


def losses(runs: Mapping[str, Finished], card: Card) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Row -> losses (nats per label or token) of the forget set and of examples that were never trained on."""
    forget = _split_of(card, "forget")
    unseen = _split_of(card, "unseen") or _split_of(card, "holdout")
    found = {}
    for name, run in runs.items():
        pair = [_losses(run, split) for split in (forget, unseen)]
        if pair[0] is not None and pair[1] is not None:
            found[name] = (pair[0], pair[1])
    return found


def _split_of(card: Card, role: str) -> str | None:
    return next((name for name, facts in card.splits.items() if facts.role == role), None)


def _losses(run: Finished, split: str | None) -> np.ndarray | None:
    rows = run.responses(split) if split else None
    if rows is None or "nll" not in rows:
        return None
    return rows["nll"] / np.maximum(rows["count"], 1) if "count" in rows else rows["nll"]


def _headline(table: Table, titles: Mapping[str, str]) -> list[tuple[str, str]]:
    found = nearest(table)
    facts = [("rows", str(len(table["rows"]))), ("seeds", str(max(len(row["seeds"]) for row in table["rows"])))]
    if found is not None:
        facts.append(("nearest to retrained", titles.get(found[0], found[0])))
        facts.append(("its mean gap", f"{found[1]:.3f}"))
    idle = [row["row"] for row in table["rows"] if not is_anchor(row["row"]) and flags_of(row) & {NOOP, COLLAPSE}]
    facts.append(("no-op or collapsed", str(len(idle))))
    return facts


def _scatter(table: Table, view: Shown, titles: Mapping[str, str]) -> str | None:
    cells = {column.cell: column for column in view.columns}
    measured = {cell for row in table["rows"] for cell in row["cells"] if value_of(row, cell) is not None}
    x = _first(["forget/mia", "forget/top1", *(c for c in cells if c.startswith("forget/"))], measured)
    y = _first(["test/top1", *(c for c in cells if c.startswith(("test/", "retain/", "all/")))], measured)
    if x is None or y is None:
        return None
    axes = []
    for cell in (x, y):
        column = cells.get(cell)
        factor, unit = (column.factor, column.unit) if column else (100.0, "%")
        axes.append(plots.Axis(cell, column.title if column else cell, factor, unit))
    return plots.utility_against_forgetting(table, axes[0], axes[1], titles)


def _first(wanted: Sequence[str], measured: set[str]) -> str | None:
    return next((cell for cell in wanted if cell in measured), None)


def _shown_models(table: Table, runs: Mapping[str, Finished]) -> dict[str, Finished]:
    """Original, retrained model and the nearest method, where they have runs."""
    best = nearest(table)
    names = [*ANCHORS, *([best[0]] if best else [])]
    return {name: runs[name] for name in names if name in runs and row_of(table, name) is not None}


def _strips(
    table: Table, card: Card, runs: Mapping[str, Finished], titles: Mapping[str, str], pictures: Pictures
) -> list[Strip]:
    models = {titles[name]: run for name, run in _shown_models(table, runs).items()}
    made = []
    for split, examples in pictures.items():
        what = card.splits[split].what if split in card.splits else ""
        strip = make_strip(split, what, examples, models, card.labels)
        if strip is not None:
            made.append(strip)
    return made


def _provenance(run: Finished) -> dict[str, Any]:
    manifest = {key: value for key, value in run.manifest.items() if key not in ("files", "packages")}
    results = run.path / "results.json"
    return {
        "name": run.path.name,
        "row": run.row,
        "seed": run.seed,
        "settings": yaml.safe_dump(run.settings, sort_keys=False, allow_unicode=True) if run.settings else "",
        "manifest": yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True) if manifest else "",
        "packages": run.manifest.get("packages", {}),
        "digest": hashlib.blake2b(results.read_bytes(), digest_size=8).hexdigest() if results.is_file() else "",
    }
