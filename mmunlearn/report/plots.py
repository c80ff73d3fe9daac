"""Plots of the report as SVG text: utility against forgetting, losses by row, distance to the retrained model."""

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmunlearn.report.table import COLLAPSE, NOOP, Table, flags_of, gaps, is_anchor, value_of

INK, GREY, BLUE, ORANGE, GREEN, RED = "#1f2933", "#9aa5b1", "#2f6fb7", "#d97706", "#2e8b57", "#c0392b"
CURVES = (BLUE, ORANGE, "#7b5aa6", "#0f8b8d", "#8c6d46", "#d16ba5", "#52606d", "#b5a21a")  # neither red nor green
RADII_PX = (11, 20, 32, 46, 62, 80)  # how far from its point a label may move
LOSS_FLOOR_NATS, LOSS_CEILING_NATS = 1e-4, 30.0


@contextmanager
def figure_in_style(width_in: float, height_in: float, rows: int = 1, columns: int = 1, **more: Any):
    """A figure in the report's style; yields (figure, axes) and closes the figure."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    style: dict[Any, Any] = {  # keys: a Literal of matplotlib's with hundreds of names
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "svg.hashsalt": "mmunlearn",  # same picture, same text
        "svg.fonttype": "path",
    }
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            rows, columns, figsize=(width_in, height_in), layout="constrained", squeeze=False, **more
        )
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def svg_of(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = stream.getvalue()
    return text[text.index("<svg") :]


@dataclass(frozen=True)
class Axis:
    """A cell on an axis of a plot; `factor` 100 for fractions."""

    cell: str
    title: str
    factor: float = 1.0
    unit: str = ""

    @property
    def label(self) -> str:
        """Title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


def utility_against_forgetting(table: Table, x: Axis, y: Axis, titles: Mapping[str, str]) -> str | None:
    """Every row as a point, original and retrained model marked; None when fewer than two rows have both cells."""
    points = [
        (row, across, up)
        for row in table["rows"]
        if (across := value_of(row, x.cell)) is not None and (up := value_of(row, y.cell)) is not None
    ]
    if len(points) < 2:
        return None
    with figure_in_style(9.4, 5.0) as (figure, axes):
        axis = axes[0][0]
        axis.grid(color="#e4e7eb", linewidth=0.6)
        axis.set_axisbelow(True)
        xs = [px * x.factor for _, px, _ in points]
        ys = [py * y.factor for _, _, py in points]
        for (row, _, _), px, py in zip(points, xs, ys, strict=True):
            colour, marker, size = _look(row)
            errors = [(row["cells"][a.cell]["std"] or 0) * a.factor for a in (x, y)]
            axis.errorbar(px, py, xerr=errors[0], yerr=errors[1], color=colour, elinewidth=0.8, alpha=0.6, zorder=2)
            hollow = bool(flags_of(row) & {NOOP, COLLAPSE}) and not is_anchor(row["row"])
            axis.scatter(
                px, py, s=size, marker=marker, facecolor="white" if hollow else colour, edgecolor=colour, zorder=3
            )
        gold = next((p for p in zip(points, xs, ys, strict=True) if p[0][0]["row"] == "retrain"), None)
        if gold is not None:
            axis.axvline(gold[1], color=GREEN, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
            axis.axhline(gold[2], color=GREEN, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
        axis.margins(0.12)
        axis.set_xlabel(x.label)
        axis.set_ylabel(y.label)
        figure.canvas.draw()
        labels = [titles.get(row["row"], row["row"]) for row, _, _ in points]
        weights = ["bold" if is_anchor(row["row"]) else "normal" for row, _, _ in points]
        _place_labels(axis, xs, ys, labels, weights)
        return svg_of(figure)


def _look(row: Mapping[str, Any]) -> tuple[str, str, float]:
    name = row["row"].partition("@")[0]
    if name == "original":
        return RED, "s", 60
    if name == "retrain":
        return GREEN, "*", 170
    return (GREY if flags_of(row) & {NOOP, COLLAPSE} else BLUE), "o", 36


def _place_labels(axis: Any, xs: Sequence[float], ys: Sequence[float], labels: Sequence[str], weights) -> None:
    """Write each label at the free place nearest its point; a thin line leads to labels that had to move away."""
    from matplotlib.patheffects import withStroke

    points = axis.transData.transform(np.column_stack([xs, ys]))
    frame = axis.get_window_extent()
    taken = [(px - 6, py - 6, px + 6, py + 6) for px, py in points]
    to_data = axis.transData.inverted()
    for index in np.argsort(-points[:, 1], kind="stable"):
        px, py = points[index]
        width, height = 5.6 * len(labels[index]) * (1.12 if weights[index] == "bold" else 1.0), 12.0
        best, best_cost = None, math.inf
        for radius in RADII_PX:
            for angle in range(0, 360, 30):
                cx, cy = px + radius * math.cos(math.radians(angle)), py + radius * math.sin(math.radians(angle))
                left = (
                    cx
                    if -60 <= (angle + 180) % 360 - 180 <= 60
                    else cx - width
                    if 120 <= angle <= 240
                    else cx - width / 2
                )
                box = (left, cy - height / 2, left + width, cy + height / 2)
                cost = radius * 0.6 + 40.0 * sum(_overlap(box, other) for other in taken)
                cost += 60.0 * (box[0] < frame.x0 or box[2] > frame.x1 or box[1] < frame.y0 or box[3] > frame.y1)
                if cost < best_cost:
                    best, best_cost = (box, radius), cost
        assert best is not None
        box, radius = best
        taken.append(box)
        tx, ty = to_data.transform(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2))
        text = axis.text(
            tx, ty, labels[index], ha="center", va="center", fontsize=7.5, fontweight=weights[index], zorder=4
        )
        text.set_path_effects([withStroke(linewidth=2.2, foreground="white")])
        if radius > RADII_PX[0]:
            end = (min(max(px, box[0]), box[2]), min(max(py, box[1]), box[3]))
            ex, ey = to_data.transform(end)
            axis.plot([xs[index], ex], [ys[index], ey], color=GREY, linewidth=0.5, zorder=1)


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Overlapping share of the smaller box, 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height / smaller


def loss_histograms(losses: Mapping[str, tuple[np.ndarray, np.ndarray]], titles: Mapping[str, str]) -> str | None:
    """Per row the losses (nats, log scale) of the forget set and of unseen examples; None without any.

    losses: row -> (forget, unseen). A model that forgot shows two curves that lie on each other.
    """
    if not losses:
        return None
    columns = min(4, len(losses))
    lines = math.ceil(len(losses) / columns)
    bins = np.geomspace(LOSS_FLOOR_NATS, LOSS_CEILING_NATS, 34)
    with figure_in_style(2.3 * columns + 0.2, 1.5 * lines + 0.5, lines, columns, sharex=True) as (figure, axes):
        for index, (row, (forget, unseen)) in enumerate(losses.items()):
            axis = axes[index // columns][index % columns]
            for values, colour, name in ((unseen, GREY, "unseen"), (forget, ORANGE, "forget")):
                clipped = np.clip(values[np.isfinite(values)], LOSS_FLOOR_NATS, LOSS_CEILING_NATS * 0.999)
                weights = np.full(len(clipped), 1 / max(len(clipped), 1))
                axis.hist(clipped, bins=bins, weights=weights, color=colour, alpha=0.35)
                axis.hist(clipped, bins=bins, weights=weights, color=colour, histtype="step", linewidth=1.1, label=name)
            axis.set_xscale("log")
            axis.set_xticks([1e-4, 1e-2, 1])
            axis.minorticks_off()
            axis.set_yticks([])
            axis.spines["left"].set_visible(False)
            colour = {"original": RED, "retrain": GREEN}.get(row.partition("@")[0], INK)
            weight = "bold" if is_anchor(row) else "normal"
            axis.set_title(_shorten(titles.get(row, row)), fontsize=8.5, color=colour, fontweight=weight)
        for index in range(len(losses), lines * columns):
            axes[index // columns][index % columns].set_visible(False)
            axes[index // columns - 1][index % columns].tick_params(labelbottom=True)
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles[::-1], names[::-1], loc="outside upper right", ncols=2, frameon=False, fontsize=8)
        figure.supxlabel("loss (nats)", fontsize=9)
        return svg_of(figure)


def _shorten(text: str) -> str:
    return text if len(text) <= 24 else text[:22] + "…"


def distance_ranking(table: Table, titles: Mapping[str, str]) -> str | None:
    """Bars of the mean absolute gap to the retrained model, nearest first; None when there is nothing to rank."""
    ranked = sorted(gaps(table).items(), key=lambda item: item[1])
    rows = {row["row"]: row for row in table["rows"]}
    if len(ranked) < 2:
        return None
    with figure_in_style(9.4, 0.27 * len(ranked) + 0.9) as (figure, axes):
        axis = axes[0][0]
        for place, (name, gap) in enumerate(ranked):
            colour = _look(rows[name])[0]
            axis.barh(place, gap, color=colour, height=0.66)
            notes = ", ".join(sorted(flags_of(rows[name]) & {NOOP, COLLAPSE})) if not is_anchor(name) else ""
            axis.annotate(
                f"{gap:.3f}" + (f"  {notes}" if notes else ""),
                (gap, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
            )
        axis.set_yticks(range(len(ranked)), [titles.get(name, name) for name, _ in ranked])
        axis.invert_yaxis()
        axis.margins(x=0.12, y=0.02)
        axis.set_xlim(left=0)
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.set_xlabel("mean absolute gap to the retrained model")
        return svg_of(figure)


def relearn_curves(
    curves: Mapping[str, Sequence[tuple[float, float, float, float]]], y: str, titles: Mapping[str, str]
) -> str | None:
    """A cell after growing budgets: row -> (budget, value, low, high) points; None without a curve."""
    curves = {name: points for name, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    with figure_in_style(9.4, 3.6) as (figure, axes):
        axis = axes[0][0]
        axis.grid(color="#e4e7eb", linewidth=0.6)
        others = [name for name in curves if not is_anchor(name)]
        for name, points in curves.items():
            xs, ys, low, high = (np.asarray(column, dtype=float) for column in zip(*points, strict=True))
            colour = {"original": RED, "retrain": GREEN}.get(name.partition("@")[0])
            colour = colour or CURVES[others.index(name) % len(CURVES)]
            dash = "-" if is_anchor(name) or others.index(name) < len(CURVES) else "--"
            axis.plot(
                xs, ys, dash, marker="o", markersize=3.5, linewidth=1.4, color=colour, label=titles.get(name, name)
            )
            axis.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set_xlabel("attacker's budget")
        axis.set_ylabel(y)
        axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return svg_of(figure)
