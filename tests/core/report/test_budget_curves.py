"""Figures of a card's curves: which cell of which run stands at which budget."""

import pytest
from matplotlib.axes import Axes
from pydantic import ValidationError

from mmunlearn.card_tables import Curve
from mmunlearn.card_tables import Table as CardTable
from mmunlearn.report.budget_curves import curve_figures, panels
from mmunlearn.report.table import build_table

TITLES = {"original": "Original", "retrain": "Retrained", "scrub": "SCRUB"}


def table_of(card, run_result, **more):
    """Two rows with two requests: scrub's test/top1 is .5 on b and .25 on a; retrain lacks request a."""
    plan = card.tables["main"].model_copy(update={"requests": {"b": {"n": 1}, "a": {"n": 2}}, **more})
    card = card.model_copy(update={"tables": {"main": plan}})
    found = {("scrub", "b"): 0.5, ("scrub", "a"): 0.25, ("retrain", "b"): 0.1, ("original", "b"): 0.9}
    runs = [
        run_result(row, 0, **{"test/top1": value, "forget/top1": value / 2}) | {"request": request}
        for (row, request), value in found.items()
    ]
    return build_table(runs, card), plan


def values(lines):
    return {row: [(budget, value) for budget, value, _ in points] for row, points in lines.items()}


@pytest.mark.parametrize("apart", [True, False])
def test_points_that_name_requests_make_one_panel(card, run_result, apart) -> None:
    curve = Curve(title="t", x="steps", points={20: "test/top1@a", 0: "test/top1@b"})
    table, plan = table_of(card, run_result, request_rows=apart)
    found = panels(table, plan, curve)
    # A row with one point is no line.
    assert {"": {"scrub": [(0, 0.5), (20, 0.25)]}} == {name: values(lines) for name, lines in found.items()}


def test_points_without_requests_make_a_panel_each_request(card, run_result) -> None:
    curve = Curve(title="t", x="nodes", points={0: "test/top1", 1: "forget/top1", 2: "unknown/cell"})
    table, plan = table_of(card, run_result, request_rows=True)
    found = {name: values(lines) for name, lines in panels(table, plan, curve).items()}
    assert ["b", "a"] == list(found)
    assert {"scrub": [(0, 0.25), (1, 0.125)]} == found["a"]
    assert {"original", "retrain", "scrub"} == set(found["b"])


def test_a_curve_without_two_points_anywhere_is_left_out(card, run_result) -> None:
    empty = Curve(title="empty", x="x", points={0: "no/cell", 1: "test/top1"})
    full = Curve(title="full", x="steps", points={0: "test/top1", 1: "forget/top1"})
    table, plan = table_of(card, run_result, curves=(empty, full))
    (figure,) = curve_figures(table, plan, TITLES)
    assert "full" == figure.title
    assert figure.svg.startswith("<svg")


def test_intervals_end_at_nought_and_one(card, run_result, monkeypatch) -> None:
    curve = Curve(title="t", x="x", points={0: "test/top1", 1: "forget/top1"})
    table, plan = table_of(card, run_result, curves=(curve,))
    for row in table["rows"]:
        for request in row["requests"].values():
            for cell in request["cells"].values():
                cell["stderr"] = 1.0
    seen = []
    drawn = Axes.errorbar
    monkeypatch.setattr(
        "matplotlib.axes.Axes.errorbar",
        lambda self, x, y, yerr, **more: (seen.append((y, *yerr)), drawn(self, x, y, yerr=yerr, **more))[1],
    )
    curve_figures(table, plan, TITLES)
    assert seen
    for values, below, above in seen:
        assert [0] * len(values) == pytest.approx([v - b for v, b in zip(values, below, strict=True)])
        assert [100] * len(values) == pytest.approx([v + a for v, a in zip(values, above, strict=True)])


@pytest.mark.parametrize(
    ("points", "message"),
    [({0: "c/x@a", 1: "c/x@z"}, "'z' is not among the requests"), ({0: "c/x@a", 1: "c/x"}, "every point names")],
)
def test_points_name_requests_of_the_table(points, message) -> None:
    with pytest.raises(ValidationError, match=message):
        CardTable(
            title="t", columns=(), rows=("original", "retrain"), requests={"a": {"n": 1}},
            curves=(Curve(title="t", x="x", points=points),),
        )  # fmt: skip
