"""The attack section: what `mmunlearn attack` left in the runs, as tables and curves.

A run holds `attacks/<name>.json`: {"schema": 1, "attack", "kind": "rows" | "weights" | "inputs", "values":
{"<name>": {"value", "n", "stderr", "unscored"}}, "clean": {cell: {...}}, "curve": [{"budget": "4 steps", "cells":
{cell: {"value", "n", "stderr"}}, "cost": {...}}], "cost": {...}}; `clean` and `curve` only for attacks on weights.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmunlearn.report.runs import Finished


@dataclass(frozen=True)
class AttackTable:
    """Values of one attack: a line a row of the benchmark's table, texts "0.71 ± 0.04" (95 % interval)."""

    attack: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def membership_tables(runs: Mapping[str, Finished], titles: Mapping[str, str]) -> list[AttackTable]:
    """One table an attack that reports values, rows in the order of `runs`."""
    names = dict.fromkeys(name for run in runs.values() for name, facts in run.attacks.items() if facts.get("values"))
    tables = []
    for name in names:
        own = {row: run.attacks[name]["values"] for row, run in runs.items() if run.attacks.get(name, {}).get("values")}
        columns = tuple(dict.fromkeys(column for values in own.values() for column in values))
        lines = tuple(
            (titles.get(row, row), tuple(interval(values.get(column)) for column in columns))
            for row, values in own.items()
        )
        tables.append(AttackTable(name, columns, lines))
    return tables


def interval(facts: Mapping[str, Any] | None) -> str:
    """A value with the half width of its 95 % interval, where its standard error is known."""
    if facts is None or facts.get("value") is None:
        return "–"
    error = facts.get("stderr")
    return f"{facts['value']:.3f}" + (f" ± {1.96 * error:.3f}" if error is not None else "")


def relearn_points(runs: Mapping[str, Finished]) -> tuple[dict[str, list[tuple[float, float, float]]], str]:
    """Curves of the first attack on weights: row -> (budget, value, standard error), the clean model at budget 0.

    The second value names the attack and cell, for the axis. Budgets are the numbers in their labels ("4 steps").
    """
    for run in runs.values():
        for name, facts in run.attacks.items():
            if facts.get("curve"):
                cell = _cell(facts)
                curves = {}
                for row, other in runs.items():
                    points = _points(other.attacks.get(name, {}), cell)
                    if points:
                        curves[row] = points
                return curves, f"{cell} after {name}"
    return {}, ""


def _cell(facts: Mapping[str, Any]) -> str:
    cells = list(facts["curve"][0]["cells"])
    return next((cell for cell in ("forget/top1", *cells) if cell in cells), "")


def _points(facts: Mapping[str, Any], cell: str) -> list[tuple[float, float, float]]:
    points = []
    clean = facts.get("clean", {}).get(cell)
    steps = ([("0", clean)] if clean else []) + [(p["budget"], p["cells"].get(cell)) for p in facts.get("curve", ())]
    for index, (label, value) in enumerate(steps):
        if value is None or value["value"] is None:
            continue
        number = re.search(r"\d+(\.\d+)?", str(label))
        points.append((float(number.group()) if number else float(index), value["value"], value.get("stderr") or 0.0))
    return points
