"""The budget figure: what was recovered against the attacker's budget, one panel an attack, one line a run."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmunlearn.report.attack_summary import Results, main_cell
from mmunlearn.report.plots import CURVES, GREEN, RED, figure_in_style, svg_of

COLUMNS = 4
Point = tuple[str, float, float, float]  # label of the budget, value, low, high
CONTROL = "retrained model"


def budget_points(results: Results, part: Mapping[str, Any] | None = None) -> list[Point]:
    """Points of one attack's curve: the clean rate first, then each budget. part: the control's."""
    part = results if part is None else part
    name = main_cell(results)
    title = f"{results['attack']}/{name}"
    clean = part["cells"].get(title, {}).get("clean")
    first = part.get("clean", {}).get(name) or {"value": clean}
    cells = [("clean", first), *((str(point["budget"]), point["cells"].get(name)) for point in part.get("curve", ()))]
    return [
        (label, cell["value"], *(cell["value"] if cell.get(end) is None else cell[end] for end in ("low", "high")))
        for label, cell in cells
        if cell is not None and cell["value"] is not None
    ]


def budget_figure(found: Mapping[str, Sequence[Results]], form: str = "svg") -> bytes | None:
    """Recovered rate against budget for every attack with a curve, as SVG or PNG; None where no attack has one.

    found: attacks' results by run. The control's line is the same for all runs; where they have several, the first's.
    """
    panels = [
        title
        for title in dict.fromkeys(results["attack"] for own in found.values() for results in own)
        if any(results["attack"] == title and results.get("curve") for own in found.values() for results in own)
    ]
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with figure_in_style(2.7 * columns + 0.4, 2.15 * rows + 0.7, rows, columns) as (figure, axes):
        drawn: dict[str, Any] = {}
        for index, title in enumerate(panels):
            drawn |= _panel(axes[index // columns][index % columns], title, found)
        for index in range(len(panels), rows * columns):
            axes[index // columns][index % columns].set_visible(False)
        figure.legend(
            drawn.values(), drawn.keys(), loc="outside upper center", ncols=min(6, len(drawn)), frameon=False,
            fontsize=8.5,
        )  # fmt: skip
        figure.supylabel("share in which the forgotten shows", fontsize=9)
        figure.supxlabel("attacker's budget", fontsize=9)
        if form == "svg":
            return svg_of(figure).encode()
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=150, facecolor="white", metadata={"Software": None})
        return stream.getvalue()


def _panel(axis: Any, title: str, found: Mapping[str, Sequence[Results]]) -> dict[str, Any]:
    """Draw one attack; the artists by name for the legend."""
    lines: dict[str, list[Point]] = {}
    access = ""
    for run, results in ((run, r) for run, own in found.items() for r in own if r["attack"] == title):
        lines[run], access = budget_points(results), results["access"].lower()
        if "control" in results and CONTROL not in lines:
            lines[CONTROL] = budget_points(results, results["control"])
    labels = list(dict.fromkeys(label for points in lines.values() for label, *_ in points))
    place = {label: x for x, label in enumerate(labels)}
    drawn = {}
    for name, points in sorted(lines.items(), key=lambda item: item[0] == CONTROL):
        if not points:
            continue
        xs = [place[label] for label, *_ in points]
        _, ys, low, high = zip(*points, strict=True)
        colour, dash = colour_of(name, list(found))
        (artist,) = axis.plot(xs, ys, dash, marker="o", markersize=3.2, linewidth=1.4, color=colour)
        axis.fill_between(xs, low, high, color=colour, alpha=0.10, linewidth=0)
        drawn[name] = artist
    axis.set_title(f"{title.replace('_', ' ')} · {access}", fontsize=8.5)
    axis.set_ylim(-0.03, 1.03)
    axis.grid(color="#e4e7eb", linewidth=0.6)
    axis.set_axisbelow(True)
    short = [label.split(" ")[0] for label in labels]
    axis.set_xticks(range(len(labels)), short, fontsize=7)
    unit = next((label.partition(" ")[2] for label in reversed(labels) if " " in label), "")
    axis.set_xlabel(unit, fontsize=7.5)
    return drawn


def colour_of(name: str, runs: Sequence[str]) -> tuple[str, str]:
    """Colour and dash of a run's line."""
    if name == CONTROL:
        return GREEN, "--"
    if name.startswith("original"):
        return RED, "-"
    others = [run for run in runs if not run.startswith("original")]
    return CURVES[others.index(name) % len(CURVES)], "-"
