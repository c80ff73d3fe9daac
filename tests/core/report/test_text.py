"""The printed forms: Markdown, CSV, LaTeX and aligned columns, with their footnotes."""

import csv
import io
import math

import pytest

from mmunlearn.report.shown import number, seconds, shown, size
from mmunlearn.report.table import build_table
from mmunlearn.report.text import aligned, csv_text, latex, markdown


def runs(run_result, edition: str = "mini") -> list[dict]:
    made = [
        run_result("original", edition=edition, test__top1=0.5951, forget__top1=1.0, forget__mia=0.9),
        run_result("retrain", edition=edition, test__top1=0.49, forget__top1=0.5, forget__mia=0.52),
        run_result("scrub", 0, edition, test__top1=0.58, forget__top1=0.6, forget__mia=0.6002),
        run_result("scrub", 1, edition, test__top1=0.60, forget__top1=0.7, forget__mia=0.6022),
        run_result("neg_grad", edition=edition, test__top1=0.125, forget__top1=0.0, forget__mia=None),
    ]
    made[-1]["flags"] = ["collapse"]
    made[-1]["cells"]["forget/mia"]["unscored"] = 7
    return made


def test_markdown_cells_are_the_numbers_in_percent(card, run_result) -> None:
    table = build_table(runs(run_result), card)
    lines = markdown(table, shown(table, card)).splitlines()
    (scrub,) = [line for line in lines if line.startswith("| **SCRUB")]
    # 0.58, 0.60: mean .59, deviation .01 * sqrt(2) = .0141
    assert ["**SCRUB**", "59.0 ± 1.4", "59.8", "60.1 ± 0.1", "64.1", "65.0 ± 7.1", "10 s"] == [
        field.strip() for field in scrub.strip("|").split("|")
    ]


def test_full_edition_shows_the_difference_and_marks_it(card, run_result) -> None:
    table = build_table(runs(run_result, "full"), card)
    (scrub,) = [line for line in markdown(table, shown(table, card)).splitlines() if line.startswith("| **SCRUB")]
    fields = [field.strip() for field in scrub.strip("|").split("|")]
    # .59 - .5984 = -.0084 within .01; .6012 - .6415 = -.0403 beyond .012
    assert ["59.0 ± 1.4", "59.8 (−0.8)", "60.1 ± 0.1!", "64.1 (−4.0)"] == fields[1:5]


def test_mini_edition_says_that_it_is_not_compared(card, run_result) -> None:
    mini = build_table(runs(run_result), card)
    full = build_table(runs(run_result, "full"), card)
    assert "are not compared" in markdown(mini, shown(mini, card))
    assert "are not compared" not in markdown(full, shown(full, card))


def test_footnotes_tell_seeds_flags_unscored_and_sources(card, run_result) -> None:
    table = build_table(runs(run_result), card)
    notes = "\n".join(shown(table, card).footnotes)
    assert "n = 1: original, retrain, neg_grad; n = 2: scrub." in notes
    assert "‡ collapsed" in notes
    assert "neg_grad forget/mia: 7" in notes
    assert "Paper: the paper, table 2." in notes
    assert "scrub: two epochs" in notes
    assert "no-op" not in notes


def test_one_seed_everywhere_says_n_equals_one(card, run_result) -> None:
    table = build_table([run_result("scrub", test__top1=0.5)], card)
    assert shown(table, card).footnotes[0].startswith("n = 1")


def test_missing_anchor_is_named(card, run_result) -> None:
    table = build_table([run_result("original", test__top1=0.5)], card)
    assert any(note.startswith("Without retrain") for note in shown(table, card).footnotes)


def test_value_that_is_missing_is_a_dash_with_its_mark(card, run_result) -> None:
    table = build_table(runs(run_result), card)
    row = next(row for row in shown(table, card).rows if row.name == "neg_grad")
    assert ["12.5‡", "–‡†", "0.0‡"] == [cell.text for cell in row.cells]


def test_csv_holds_unrounded_numbers(card, run_result) -> None:
    table = build_table(runs(run_result), card)
    lines = list(csv.DictReader(io.StringIO(csv_text(table))))
    (cell,) = [line for line in lines if (line["row"], line["cell"]) == ("scrub", "test/top1")]
    assert 0.59 == pytest.approx(float(cell["value"]))
    assert math.sqrt(0.0002) == pytest.approx(float(cell["std"]))
    assert ("2", "0.5984", "") == (cell["seeds"], cell["paper"], cell["flag"])


def test_latex_is_escaped_and_has_a_line_a_row(card, run_result) -> None:
    table = build_table(runs(run_result), card)
    text = latex(table, shown(table, card))
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert 4 == len(body)
    assert all(line.endswith(r"\\") and 3 == line.count("&") for line in body)
    assert r"59.0 $\pm$ 1.4 (59.8)" in text
    assert r"Test acc. (\%) $\uparrow$" in text


def test_aligned_lines_are_equally_long_columns(card, run_result) -> None:
    table = build_table(runs(run_result), card)
    lines = aligned(table, shown(table, card)).splitlines()
    start = lines.index(next(line for line in lines if line.startswith("row")))
    assert "* scrub" in aligned(table, shown(table, card))
    assert 1 == len({len(line) for line in lines[start : start + 6]})


def test_unit_of_the_metric_decides_between_percent_and_plain(card, run_result) -> None:
    runs = [run_result("retrain", forget__ks=0.31, odd__thing=0.5)]
    table = build_table(runs)
    units = {column.cell: column.unit for column in shown(table).columns}
    from mmunlearn import registry

    expected = registry.load("metrics", "ks").unit
    assert ("%" if expected == "fraction" else expected) == units["forget/ks"]
    assert "%" == units["odd/thing"]


@pytest.mark.parametrize(
    ("value", "factor", "expected"),
    [
        (0.5951, 100, "59.5"),
        (-0.0084, 100, "−0.8"),
        (-0.0001, 100, "0.0"),
        (12.3456, 1, "12.3"),
        (None, 1, "–"),
        (math.nan, 1, "–"),
    ],
)
def test_numbers(value: float | None, factor: float, expected: str) -> None:
    assert expected == number(value, factor)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.84, "0.8 s"), (42.4, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (59.7, "1 min 00 s"), (None, "–")],
)
def test_durations(value: float | None, expected: str) -> None:
    assert expected == seconds(value)


@pytest.mark.parametrize(
    ("value", "expected"), [(512, "512 B"), (45_800_000, "43.7 MiB"), (2**31, "2.0 GiB"), (None, "–")]
)
def test_sizes(value: float | None, expected: str) -> None:
    assert expected == size(value)


def test_published_only_column_shows_the_papers_number_alone_in_its_unit(card, run_result) -> None:
    from mmunlearn.card_tables import Column
    from mmunlearn.cards import Card

    plan = card.tables["main"]
    extra = Column(cell="paper/minutes", title="Time", better="lower", published_only=True, unit="min")
    paper = plan.paper.model_copy(update={"cells": {**plan.paper.cells, "scrub": {"paper/minutes": 7.34}}})
    changed = plan.model_copy(update={"columns": (*plan.columns, extra), "paper": paper})
    wider = Card.model_copy(card, update={"tables": {"main": changed}})
    view = shown(build_table(runs(run_result), wider), wider)
    assert ("Time (paper)", "min", False) == (view.columns[-1].title, view.columns[-1].unit, view.columns[-1].has_paper)
    assert {"scrub": "7.34", "retrain": "–"} == {
        row.name: row.cells[-1].text for row in view.rows if row.name in ("scrub", "retrain")
    }
