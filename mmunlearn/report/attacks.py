"""The attack section: what `mmunlearn attack` left under a run's `attacks/`, as tables and curves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmunlearn.report.runs import Finished

# Cells of a curve that say most about what comes back.
PREFERRED = ("forget_held_out_success", "forget_success", "success", "forget_held_out_top1", "forget_top1")
Curve = list[tuple[float, float, float, float]]  # (budget, value, low, high)


@dataclass(frozen=True)
class AttackTable:
    """Figures of one attack: a line a row of the benchmark's table, texts "0.71 [0.67, 0.75]" (95 % interval)."""

    attack: str
    note: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def attack_tables(runs: Mapping[str, Finished], titles: Mapping[str, str]) -> list[AttackTable]:
    """One table an attack, rows in the order of `runs`; attacks on weights show the clean figure before the arrow."""
    names = dict.fromkeys(name for run in runs.values() for name in run.attacks)
    tables = []
    for name in names:
        own = {row: run.attacks[name] for row, run in runs.items() if run.attacks.get(name, {}).get("cells")}
        columns = tuple(dict.fromkeys(cell for facts in own.values() for cell in facts["cells"]))
        lines = tuple(
            (titles.get(row, row), tuple(figure(facts["cells"].get(cell)) for cell in columns))
            for row, facts in own.items()
        )
        worst = {facts["worst"] for facts in own.values() if facts.get("worst")}
        note = f"At the budget that is worst for the defender ({', '.join(sorted(worst))})." if worst else ""
        if lines:
            short = tuple(column.removeprefix(f"{name}/") for column in columns)
            tables.append(AttackTable(name, note, short, lines))
    return tables


def figure(cell: Mapping[str, Any] | None) -> str:
    """A value with its 95 % interval; for a changed model the clean figure, an arrow and the value."""
    if cell is None or cell.get("value") is None:
        return "–"
    clean = f"{cell['clean']:.3f} → " if cell.get("clean") is not None else ""
    low, high = cell.get("low"), cell.get("high")
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{clean}{cell['value']:.3f}{interval}"


def curves(runs: Mapping[str, Finished]) -> tuple[dict[str, Curve], str]:
    """Curves over the budgets of the attack called relearn, else of the first with a curve: row -> points.

    The second value names cell and attack, for the axis. Budgets are the numbers in their labels ("4 steps").
    """
    names = [name for run in runs.values() for name, facts in run.attacks.items() if len(facts.get("curve", ())) > 1]
    if not names:
        return {}, ""
    name = "relearn" if "relearn" in names else names[0]
    facts = next(run.attacks[name] for run in runs.values() if run.attacks.get(name, {}).get("curve"))
    cells = list(facts["curve"][0]["cells"])
    cell = next((cell for cell in (facts.get("recovered"), *PREFERRED, *cells) if cell in cells), "")
    found = {row: _points(run.attacks[name], cell) for row, run in runs.items() if name in run.attacks}
    return {row: points for row, points in found.items() if points}, f"{cell} after {name}"


def _points(facts: Mapping[str, Any], cell: str) -> Curve:
    points: Curve = []
    for index, point in enumerate(facts.get("curve", ())):
        value = point["cells"].get(cell)
        if value is None or value["value"] is None:
            continue
        number = re.search(r"\d+(\.\d+)?", str(point["budget"]))
        low, high = value.get("low"), value.get("high")
        middle = value["value"]
        points.append(
            (
                float(number.group()) if number else float(index),
                middle,
                middle if low is None else low,
                middle if high is None else high,
            )
        )
    return points
