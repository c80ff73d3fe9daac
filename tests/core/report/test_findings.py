import pytest

from mmunlearn.cards import Ahead, Collapsed, Hidden, Resists, read_card
from mmunlearn.report.findings import findings


def card():
    hidden = Hidden(kind="hidden", says="Hidden", answers="forget/em", trace="forget/min_k")
    collapsed = Collapsed(kind="collapsed", says="Collapsed", utility="retain/rouge_l")
    return read_card("mufac").model_copy(update={"findings": (hidden, collapsed)})


def table(**rows):
    names = ("forget/em", "forget/min_k", "retain/rouge_l")
    return {
        "rows": [
            {"row": row, "cells": {n: {"value": v} for n, v in zip(names, values, strict=True)}}
            for row, values in rows.items()
        ]
    }


def test_a_row_that_answers_no_more_and_still_carries_the_trace_is_named():
    told = findings(
        table(
            original=(0.95, 0.9, 0.9), retrain=(0.05, 0.1, 0.9),
            po=(0.0, 0.8, 0.9), gd=(0.05, 0.2, 0.8), kl=(0.6, 0.8, 0.9),
        ),
        card(),
    )  # fmt: skip
    assert 1 == len(told)
    assert told[0].startswith("Hidden: po (forget/em 0.00, retrained 0.05; forget/min_k 0.80")
    assert "gd" not in told[0] and "kl" not in told[0]


def test_a_row_that_lost_half_of_its_utility_is_named():
    told = findings(table(original=(0.9, 0.9, 0.9), retrain=(0.1, 0.1, 0.9), ga=(0.0, 0.0, 0.1)), card())
    assert ["Collapsed: ga (retain/rouge_l 0.10, original 0.90)."] == told


def test_nothing_is_said_without_original_gold_or_cells():
    assert [] == findings(table(original=(0.9, 0.9, 0.9), po=(0.0, 0.8, 0.9)), card())
    assert [] == findings(table(retrain=(0.1, 0.1, 0.9), po=(0.0, 0.8, 0.0)), card())
    assert [] == findings(table(original=(None, 0.9, None), retrain=(0.1, None, 0.9), po=(None, 0.8, None)), card())


def compared(width, **rows):
    """A table of one cell with intervals of value ± width, and what is said of its rows against `fe`."""
    cells = {
        row: {"value": v, "low": v - width, "high": v + width} if width else {"value": v} for row, v in rows.items()
    }
    pattern = Resists(
        kind="resists", says="Read-outs", rows=tuple(r for r in rows if r != "fe"), against="fe", cells=("hp",)
    )
    content = {
        "rows": [{"row": row, "cells": {"hp": cell}} for row, cell in ({"original": {"value": 1.0}} | cells).items()]
    }
    return findings(content, card().model_copy(update={"findings": (pattern,)}))


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (0.0, "lower than fe (0.50): a (0.10), b (0.45); not lower here: c (0.60)."),
        (0.1, "lower than fe (0.50): a (0.10); lower by less than the intervals: b (0.45); not lower here: c (0.60)."),
        (
            0.3,
            "lower than fe (0.50): none; lower by less than the intervals: a (0.10), b (0.45); "
            "not lower here: c (0.60).",
        ),
    ],
)
def test_resistance_is_claimed_only_beyond_the_intervals(width, said):
    assert [f"Read-outs (mean of hp): {said}"] == compared(width, fe=0.5, a=0.1, b=0.45, c=0.6)


def test_a_control_without_utility_is_no_collapse():
    pattern = Collapsed(kind="collapsed", says="Collapsed", utility="retain/rouge_l", controls=("never",))
    own = read_card("mufac").model_copy(update={"findings": (pattern,)})
    rows = {
        "original": (1, 1, 0.9),
        "retrain": (0, 0, 0.9),
        "never": (0, 0, 0),
        "never@a": (0, 0, 0),
        "ga": (0, 0, 0.1),
    }
    assert ["Collapsed: ga (retain/rouge_l 0.10, original 0.90)."] == findings(table(**rows), own)


def test_an_attack_is_ahead_where_every_paired_interval_lies_above_zero():
    """50 goals: 20 won by both, 12 by ours alone, 2 by the rival alone: Newcombe's example, .2000 (.0562 to .3292)."""
    names = [f"0//{n}" for n in range(50)]
    ours = {name: n < 32 for n, name in enumerate(names)}
    rival = {name: n < 20 or 32 <= n < 34 for n, name in enumerate(names)}
    rows = {"original": None, "a+x@q": ours, "a+y@q": rival, "b+x@q": rival, "b+y@q": ours, "c+x@q": ours, "x@q": None,
            "d+x@q": None, "d+y@q": rival}  # fmt: skip  # d+x was stored before goals were told
    content = {"rows": [{"row": row, "cells": {}} | ({"won": won} if won else {}) for row, won in rows.items()]}
    pattern = Ahead(kind="ahead", says="X", attack="x", rivals=("y",))
    said = "X (paired difference in points, 95 %): "
    both = f"{said}clearly above all: a@q (y +20 [6, 33]). not above all: b@q (y -20 [-33, -6])."
    assert [both] == findings(content, card().model_copy(update={"findings": (pattern,)}))
    more = Ahead(kind="ahead", says="X", attack="x", rivals=("y", "z"))  # z never ran
    (told,) = findings(content, card().model_copy(update={"findings": (more,)}))
    assert told.startswith(f"{said}clearly above all: none. not above all: a@q (y +20")
    none = Ahead(kind="ahead", says="X", attack="z", rivals=("y",))
    assert [] == findings(content, card().model_copy(update={"findings": (none,)}))
