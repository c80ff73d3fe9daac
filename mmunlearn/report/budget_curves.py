"""Figures of a card's `curves`: fractions that are measured at growing budgets, a line a row, a panel a request."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmunlearn.card_tables import Curve
from mmunlearn.card_tables import Table as CardTable
from mmunlearn.report.plots import CURVES, GREEN, GREY, RED, figure_in_style, svg_of
from mmunlearn.report.table import Table

Points = list[tuple[float, float, float]]  # budget, value, standard error
ANCHORED = {"original": RED, "retrain": GREEN}
WIDE_IN = 9.4


@dataclass(frozen=True)
class CurveFigure:
    """A drawn curve with its title."""

    title: str
    svg: str


def curve_figures(table: Table, plan: CardTable, titles: Mapping[str, str]) -> list[CurveFigure]:
    """The card's curves of which at least one row has two points; titles: of the card's rows, by name."""
    found = []
    for curve in plan.curves:
        drawn = {name: lines for name, lines in panels(table, plan, curve).items() if lines}
        if drawn:
            found.append(CurveFigure(curve.title, _drawn(drawn, curve.x, titles)))
    return found


def panels(table: Table, plan: CardTable, curve: Curve) -> dict[str, dict[str, Points]]:
    """Request ("" where the points name them) -> row -> points in the order of their budgets."""
    measured = {row["row"]: row for row in table["rows"]}
    if curve.requests or not plan.requests:
        return {"": _lines(measured, plan.rows, curve, "")}
    return {request: _lines(measured, plan.rows, curve, request) for request in plan.requests}


def _lines(
    measured: Mapping[str, Mapping[str, Any]], rows: Sequence[str], curve: Curve, request: str
) -> dict[str, Points]:
    lines = {}
    for row in rows:
        points = []
        for budget, point in sorted(curve.points.items()):
            name, _, asked = point.partition("@")
            cell = _cell(measured, row, asked or request, name)
            if cell is not None and cell["value"] is not None:
                points.append((budget, cell["value"], cell["stderr"] or 0.0))
        if len(points) > 1:
            lines[row] = points
    return lines


def _cell(measured: Mapping[str, Mapping[str, Any]], row: str, request: str, name: str) -> Mapping[str, Any] | None:
    """A row's cell of a request: of the row that stands for both, else of what the row keeps by request."""
    if not request:
        return measured.get(row, {}).get("cells", {}).get(name)
    apart = measured.get(f"{row}@{request}")
    if apart is not None:
        return apart["cells"].get(name)
    return measured.get(row, {}).get("requests", {}).get(request, {}).get("cells", {}).get(name)


def _drawn(drawn: Mapping[str, Mapping[str, Points]], x: str, titles: Mapping[str, str]) -> str:
    columns = min(4, len(drawn))
    lines = math.ceil(len(drawn) / columns)
    others = [row for row in dict.fromkeys(row for own in drawn.values() for row in own) if row not in ANCHORED]
    size = (WIDE_IN, 2.4 * lines + 0.6) if len(drawn) > 1 else (WIDE_IN, 3.6)
    with figure_in_style(*size, lines, columns, sharey=True) as (figure, axes):
        handles: dict[str, Any] = {}
        for place, (request, own) in enumerate(drawn.items()):
            axis = axes[place // columns][place % columns]
            axis.grid(color="#e4e7eb", linewidth=0.6)
            axis.set_title(request, fontsize=8.5)
            for row, points in own.items():
                budgets, values, errors = zip(*points, strict=True)
                at = range(len(budgets))  # budgets that double each time would crowd at one end
                colour = ANCHORED.get(row) or CURVES[others.index(row) % len(CURVES)]
                dash = "-" if row in ANCHORED or others.index(row) < len(CURVES) else "--"
                pairs = list(zip(values, errors, strict=True))
                below = [196 * min(error, max(0.0, value) / 1.96) for value, error in pairs]
                above = [196 * min(error, max(0.0, 1 - value) / 1.96) for value, error in pairs]
                handles[row] = axis.errorbar(
                    at, [100 * value for value in values], yerr=[below, above], fmt=dash,
                    marker="o", markersize=3.5, linewidth=1.4, elinewidth=0.6, color=colour,
                )  # fmt: skip
                axis.set_xticks(at, [f"{budget:g}" for budget in budgets])
            axis.spines["left"].set_color(GREY)
        for place in range(len(drawn), lines * columns):
            axes[place // columns][place % columns].set_visible(False)
        figure.supxlabel(x, fontsize=9)
        figure.supylabel("%", fontsize=9)
        names = [titles.get(row, row) for row in handles]
        figure.legend(list(handles.values()), names, loc="outside right center", frameon=False, fontsize=8)
        return svg_of(figure)
