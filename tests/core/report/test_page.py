"""The HTML page: self-contained, complete, and built from the runs' own files."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mmunlearn.data import Example, ImageRef
from mmunlearn.records import Rows
from mmunlearn.report.attacks import attack_tables, curves, figure
from mmunlearn.report.page import first_seeds, losses, page
from mmunlearn.report.runs import find_runs
from mmunlearn.report.strips import answer_of, make_strip
from mmunlearn.report.table import build_table
from mmunlearn.report.write import write_report

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Balanced(HTMLParser):
    """Fails on a tag that is not closed; collects headings and where pictures come from."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attributes) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href") and tag != "use"]

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_startendtag(self, tag: str, attributes) -> None:
        """Closed at once, as in SVG."""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def picture(split: str, index: int) -> Example:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (20, 20), (index, 90, 200)).save(stream, "PNG")
    return Example(id=f"{split}/{index:04d}", image=ImageRef(content=stream.getvalue()), target=index % 8)


def attack_results(value: float) -> dict:
    point = {"value": value, "n": 40, "stderr": 0.01, "low": value - 0.02, "high": value + 0.02}
    return {
        "schema": 1,
        "cells": {"relearn/forget_top1": {**point, "clean": 0.4}},
        "worst": "8 steps",
        "curve": [{"budget": f"{steps} steps", "cells": {"forget_top1": point}} for steps in (0, 2, 8)],
    }


@pytest.fixture
def attacked(out: Path) -> Path:
    for index, folder in enumerate(sorted((out / "runs").iterdir())):
        place = folder / "attacks" / "relearn"
        place.mkdir(parents=True)
        (place / "results.json").write_text(json.dumps(attack_results(0.4 + index / 50)))
    return out


def test_page_is_well_formed_complete_and_needs_no_other_file(card, attacked: Path) -> None:
    runs = find_runs([attacked])
    table = build_table([run.results for run in runs], card)
    text = page(table, card, runs, {"forget": [picture("forget", index) for index in range(30)]})
    parser = Balanced()
    parser.feed(text)
    assert [] == parser.open
    assert [
        "Results",
        "Utility against forgetting",
        "Distance to the retrained model",
        "Losses of the forget set and of unseen examples",
        "Attacks",
        "Pictures",
        "Costs",
        "Where it comes from",
    ] == parser.headings
    assert 8 == len(parser.sources)
    assert all(source.startswith("data:image/jpeg;base64,") for source in parser.sources)
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", text)
    assert "<script" not in text
    assert 4 == text.count("</svg>")


def test_page_without_responses_attacks_and_pictures_leaves_those_sections_out(
    card, run_result, tmp_path: Path
) -> None:
    folder = tmp_path / "retrain-s0"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(run_result("retrain", test__top1=0.5)))
    runs = find_runs([folder])
    parser = Balanced()
    parser.feed(page(build_table([runs[0].results], card), card, runs))
    assert ["Results", "Costs", "Where it comes from"] == parser.headings


def test_page_escapes_what_runs_and_cards_say(card, out: Path) -> None:
    rude = card.model_copy(update={"title": "<script>alert(1)</script>"})
    runs = find_runs([out])
    text = page(build_table([run.results for run in runs], rude), rude, runs)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_same_runs_give_the_same_page(card, out: Path) -> None:
    runs = find_runs([out])
    table = build_table([run.results for run in runs], card)
    assert page(table, card, runs) == page(table, card, find_runs([out]))


def test_losses_are_per_item_of_the_smallest_seed(card, out: Path) -> None:
    runs = find_runs([out])
    table = build_table([run.results for run in runs], card)
    chosen = first_seeds(runs, table)
    assert {0} == {run.seed for run in chosen.values()}
    forget, unseen = losses(chosen, card)["scrub"]
    rows = chosen["scrub"].responses("forget")
    assert (rows["nll"] / rows["count"]).tolist() == forget.tolist()
    assert 120 == len(unseen)


def test_write_report_writes_three_files_that_agree(card, out: Path) -> None:
    table = write_report(out, find_runs([out]), card)
    assert table == json.loads((out / "table.json").read_text())
    assert "Nearest to the retrained model" in (out / "table.md").read_text()
    assert "</html>" in (out / "table.html").read_text()


# ---- attacks --------------------------------------------------------------------------------------------------------
def test_attack_figures_show_clean_value_and_interval() -> None:
    assert "0.400 → 0.900 [0.850, 0.950]" == figure({"value": 0.9, "clean": 0.4, "low": 0.85, "high": 0.95})
    assert "0.900" == figure({"value": 0.9, "clean": None, "low": None, "high": None})
    assert "–" == figure({"value": None})
    assert "–" == figure(None)


def test_attack_tables_and_curves_hold_a_line_a_row(attacked: Path, card) -> None:
    runs = find_runs([attacked])
    chosen = first_seeds(runs, build_table([run.results for run in runs], card))
    (table,) = attack_tables(chosen, {"scrub": "SCRUB"})
    assert (("forget_top1",), 6) == (table.columns, len(table.lines))
    assert "8 steps" in table.note
    found, axis = curves(chosen)
    assert "forget_top1 after relearn" == axis
    assert [0.0, 2.0, 8.0] == [point[0] for point in found["scrub"]]


# ---- image strips ---------------------------------------------------------------------------------------------------
def test_strip_spreads_evenly_over_the_split_and_shows_each_models_answer(out: Path) -> None:
    models = {"Original": find_runs([out / "runs" / "original-s0"])[0]}
    strip = make_strip("forget", "", [picture("forget", index) for index in range(120)], models, {3: "thirty"})
    assert [f"forget/{index:04d}" for index in (0, 17, 34, 51, 68, 85, 102, 119)] == [p.id for p in strip.pictures]
    assert "thirty" == strip.pictures[3].label
    assert all("Original" == picture.answers[0].row for picture in strip.pictures)


def rows_with(**columns) -> Rows:
    return Rows(("a",), {name: np.asarray([value], dtype=float) for name, value in columns.items()})


def test_answer_is_the_most_likely_class_with_its_probability() -> None:
    rows = rows_with(logits=[[0.0, np.log(3.0)]], target=[1])
    answer = answer_of("m", rows, Example(id="a", target=1), {1: "one"})
    assert ("one", True, pytest.approx(0.75)) == (answer.text, answer.right, answer.confidence_frac)


def test_answer_of_a_label_vector_names_its_labels() -> None:
    rows = rows_with(logits=[[2.0], [-1.0], [3.0]], target=[1, 0, 0])
    answer = answer_of("m", rows, Example(id="a", target=(1, 0, 0)), {0: "male", 1: "smiling", 2: "young"})
    assert ("male, young", False) == (answer.text, answer.right)


def test_answer_to_an_example_without_a_response_says_so() -> None:
    assert "no response" == answer_of("m", rows_with(nll=1.0), Example(id="b"), {}).text


def test_picture_that_cannot_be_read_leaves_a_gap(out: Path, tmp_path: Path) -> None:
    strip = make_strip("forget", "", [Example(id="forget/0000", image=ImageRef(tmp_path / "none.png"))], {}, {})
    assert "" == strip.pictures[0].source


def test_split_without_pictures_has_no_strip() -> None:
    assert make_strip("forget", "", [Example(id="a", prompt="?")], {}, {}) is None
