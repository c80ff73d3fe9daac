"""Sentences about the patterns a card asks for: answers hidden rather than removed, utility lost."""

from collections.abc import Mapping
from typing import Any

from mmunlearn.attack_figures import difference
from mmunlearn.cards import Ahead, Card, Collapsed, Hidden, Resists
from mmunlearn.report.table import Table, anchor_of, is_anchor, row_of, value_of

NEAR = 0.1  # how far above the retrained model an answer rate may lie and still count as gone
HALF = 0.5  # share of the way from the retrained model to the original from which a trace counts as left


def findings(table: Table, card: Card | None) -> list[str]:
    """One sentence for each pattern of the card that some row shows; which rows follow a rule, not a choice."""
    if card is None or row_of(table, "original") is None:
        return []
    sentences = []
    for pattern in card.findings:
        if isinstance(pattern, Resists):
            sentences += _resists(pattern, table)
            continue
        if isinstance(pattern, Ahead):
            sentences += _ahead(pattern, table)
            continue
        told = [
            found
            for row in table["rows"]
            if not is_anchor(row["row"])
            for original, gold in [(_anchor(table, row, "original"), _anchor(table, row, "retrain"))]
            for found in [
                _hidden(pattern, row, original, gold)
                if isinstance(pattern, Hidden)
                else _collapsed(pattern, row, original)
            ]
            if found
        ]
        if told:
            sentences.append(f"{pattern.says}: {'; '.join(told)}.")
    return sentences


def _resists(pattern: Resists, table: Table) -> list[str]:
    """Which rows have a lower mean over the cells than the row that they are compared with, and which have not.

    Where the cells have 95 % intervals, a row counts as lower only if its mean interval ends below the other's; rows
    that are lower by less are named apart. Cells share their examples, so the mean of the ends is the cautious choice.
    """
    means: dict[str, tuple[float, float, float]] = {}
    for name in (pattern.against, *pattern.rows):
        row = row_of(table, name)
        ends = [_ends(row, cell) for cell in pattern.cells] if row is not None else [None]
        if None not in ends:
            value, low, high = (sum(column) / len(ends) for column in zip(*ends, strict=True))  # type: ignore[arg-type]
            means[name] = value, low, high
    other = means.pop(pattern.against, None)
    if other is None or not means:
        return []
    groups: dict[str, list[str]] = {
        f"lower than {pattern.against} ({other[0]:.2f})": [], "lower by less than the intervals": [],
        "not lower here": [],
    }  # fmt: skip
    lower, within, rest = groups.values()
    for name, (value, _, high) in means.items():
        (rest if value >= other[0] else lower if high < other[1] or high == value else within).append(
            f"{name} ({value:.2f})"
        )
    parts = [f"{says}: {', '.join(rows) or 'none'}" for says, rows in groups.items() if rows or rows is lower]
    return [f"{pattern.says} (mean of {', '.join(pattern.cells)}): {'; '.join(parts)}."]


def _ahead(pattern: Ahead, table: Table) -> list[str]:
    """For each victim the differences from the rivals, in points with Newcombe's 95 % interval of pairs; victims on
    which every interval lies above 0 are named apart."""
    above: list[str] = []
    rest: list[str] = []
    for row in table["rows"]:
        name, at, request = row["row"].partition("@")
        victim, _, attack = name.rpartition("+")
        if attack != pattern.attack or "won" not in row:
            continue
        others = [(rival, row_of(table, f"{victim}+{rival}{at}{request}")) for rival in pattern.rivals]
        found = [(rival, difference(other["won"], row["won"])) for rival, other in others if other and "won" in other]
        found = [(rival, gap) for rival, gap in found if gap["n"]]
        if not found:
            continue
        parts = [
            f"{rival} {100 * gap['value']:+.0f} [{100 * gap['low']:.0f}, {100 * gap['high']:.0f}]"
            for rival, gap in found
        ]
        clear = len(found) == len(pattern.rivals) and all(gap["low"] > 0 for _, gap in found)
        (above if clear else rest).append(f"{victim}{at}{request} ({', '.join(parts)})")
    told = [f"clearly above all: {'; '.join(above) or 'none'}"]
    told += [f"not above all: {'; '.join(rest)}"] if rest else []
    return [f"{pattern.says} (paired difference in points, 95 %): {'. '.join(told)}."] if above or rest else []


def _ends(row: Mapping[str, Any], cell: str) -> tuple[float, float, float] | None:
    """Value and ends of the interval of a cell; the value three times where it has none."""
    value = value_of(row, cell)
    if value is None:
        return None
    ends = [row["cells"][cell].get(name) for name in ("low", "high")]
    return value, *(value if end is None else float(end) for end in ends)  # type: ignore[return-value]


def _anchor(table: Table, row: Mapping[str, Any], anchor: str) -> Mapping[str, Any]:
    return anchor_of(table, row["row"], anchor) or {"cells": {}}


def _hidden(pattern: Hidden, row: Mapping[str, Any], original: Mapping[str, Any], gold: Mapping[str, Any]) -> str:
    """The row whose answers are gone while a trace of them is not."""
    answers = [value_of(r, pattern.answers) for r in (row, gold)]
    traces = [value_of(r, pattern.trace) for r in (row, gold, original)]
    if None in answers or None in traces:
        return ""
    now, floor, before = traces
    if answers[0] > answers[1] + NEAR or before - floor <= 0:  # type: ignore[operator]
        return ""
    share = (now - floor) / (before - floor)  # type: ignore[operator]
    if share < HALF:
        return ""
    return (
        f"{row['row']} ({pattern.answers} {answers[0]:.2f}, retrained {answers[1]:.2f}; "
        f"{pattern.trace} {now:.2f}, retrained {floor:.2f}, original {before:.2f})"
    )


def _collapsed(pattern: Collapsed, row: Mapping[str, Any], original: Mapping[str, Any]) -> str:
    """The row that has lost more than half of the original's utility."""
    now, before = value_of(row, pattern.utility), value_of(original, pattern.utility)
    if now is None or before is None or now >= pattern.below * before:
        return ""
    if row["row"].partition("@")[0] in pattern.controls:
        return ""
    return f"{row['row']} ({pattern.utility} {now:.2f}, original {before:.2f})"
