"""Grids of generated pictures and confusion tables, from synthetic runs of a text-to-image benchmark."""

import json

import pytest
import yaml

from mmunlearn.atomic import write_json
from mmunlearn.cards import Card
from mmunlearn.records import Rows, Shard
from mmunlearn.report.confusion import confusion, confusions
from mmunlearn.report.grids import GROUPS, choose, picture_grids
from mmunlearn.report.runs import read_run
from mmunlearn.report.table import build_table
from mmunlearn.report.write import write_report
from mmunlearn.testing.picture_world import OBJECTS, STYLES, draw

REQUEST = {"kind": "style", "name": "Dots"}
TAGS = ("style", "object")


def answers():
    return [(style, thing, seed) for style in STYLES for thing in OBJECTS for seed in (1, 2)]


def rows() -> Rows:
    return Rows.of([
        {"id": f"{s}/{o}/{n}", "tag.style": s, "tag.object": o, "image": "x.jpg"} for s, o, n in answers()
    ])  # fmt: skip


def asked(rows, places):
    return [(rows["tag.style"][place], rows["tag.object"][place]) for place in places]


def test_a_style_request_shows_the_style_other_styles_and_other_objects():
    table = rows()
    groups = dict(choose(table, TAGS, REQUEST))
    assert set(GROUPS) == set(groups)
    assert {"Dots"} == {style for style, _ in asked(table, groups["to forget"])}
    assert [("Seed_Images", "Cross"), ("Stripes", "Cross")] == asked(table, groups["in-domain"])
    assert [("Seed_Images", thing) for thing in OBJECTS] == asked(table, groups["cross-domain"])


def test_a_pair_request_shows_the_pair_its_halves_and_the_rest():
    table = rows()
    groups = dict(choose(table, TAGS, {"kind": "pair", "name": "dots/Disc"}))
    assert {("Dots", "Disc")} == set(asked(table, groups["to forget"]))
    assert all((s == "Dots") != (o == "Disc") for s, o in asked(table, groups["in-domain"]))
    assert all(s != "Dots" and o != "Disc" for s, o in asked(table, groups["cross-domain"]))


def test_without_a_request_answers_are_spread_over_all():
    ((name, places),) = choose(rows(), TAGS, {})
    assert ("answers", 8, 0, 17) == (name, len(places), places[0], places[-1])


def test_confusions_by_hand():
    found = confusion("Row", "style", ["A", "A", "B", "B", "B"], ["A", "B", "B", None, "C"])
    assert ("A", "B", "C") == found.names
    assert ((1, 1, 0), (0, 1, 1), (0, 0, 0)) == found.counts
    assert 1 == found.unscored
    assert [("A", "B", 1, 2), ("B", "C", 1, 2)] == found.frequent


@pytest.fixture
def diffusion_card() -> Card:
    edition = {"model": {"name": "scratch/sd"}, "recipe": {}, "from": {"*": "test"}}
    plan = {"name": "style", "split": "answers", "judge": "style_object", "metrics": ["ua"]}
    return Card.model_validate({
        "name": "sample", "modality": "diffusion", "version": 1, "title": "Sample", "paper": "Nobody 2020",
        "source": {"kind": "folder", "what": "pictures", "get": "ask", "licence": "CC0"},
        "splits": {"answers": {"role": "utility", "what": "prompts", "from": "section 1"}},
        "editions": {"mini": edition, "full": edition}, "evaluations": [plan], "table": "main",
        "tables": {"main": {
            "title": "Results", "columns": [{"cell": "style/ua", "title": "UA", "better": "higher"}],
            "rows": ["original", "retrain", "esd"],
            "requests": {"dots": {"request": REQUEST}},
        }},
        "rows": {name: {"title": name.title(), "method": {"name": "retrain"}, "from": {"*": "t"}}
                 for name in ("original", "retrain", "esd")},
    })  # fmt: skip


def write_run(out, row, *, broken=False):
    folder = out / "runs" / f"{row}@dots-s0"
    images = folder / "images" / "answers"
    images.mkdir(parents=True)
    responses, verdicts = [], []
    for style, thing, seed in answers():
        drawn = "Stripes" if row == "esd" and style == "Dots" else style
        file = f"{style}_{thing}_seed{seed}.jpg"
        draw(drawn, thing, seed).save(images / file)
        key = f"{style}/{thing}/{seed}"
        responses.append({"id": key, "image": file, "image_hash": "h", "tag.style": style, "tag.object": thing})
        label = f"{drawn}/{thing}"
        verdicts.append({"id": key, "key": key, "value": float(drawn == style), "label": label, "explanation": ""})
    if broken:
        (images / "Dots_Cross_seed1.jpg").write_bytes(b"no picture")
        verdicts[0] |= {"value": None, "label": None}
    Shard(folder / "responses" / "answers").append(responses)
    Shard(folder / "verdicts" / "style").append(verdicts)
    cell = {"value": 0.5, "n": 6, "stderr": 0.1, "unscored": 0, "flag": None, "note": "mean over 2 styles"}
    write_json(folder / "results.json", {
        "schema": 1, "benchmark": "sample", "edition": "mini", "card_version": 1, "table": "main", "row": row,
        "method": row, "seed": 0, "request": "dots", "earlier": [], "flags": [], "cells": {"style/ua": cell},
        "cost": {"seconds": 1.0, "peak_bytes": 1, "stored_bytes": 1},
    })  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump({"benchmark": {"name": "sample", "request": REQUEST}}))
    return read_run(folder)


def test_grids_have_a_line_a_model_in_the_same_columns(diffusion_card, tmp_path):
    runs = [write_run(tmp_path, "esd"), write_run(tmp_path, "original", broken=True)]
    table = build_table([run.results for run in runs], diffusion_card)
    (grid,) = picture_grids(runs, table, diffusion_card, {"original": "Original", "esd": "ESD"})
    assert ("dots", ("Original", "ESD")) == (grid.request, tuple(title for title, _ in grid.lines))
    assert (("to forget", 4), ("in-domain", 2), ("cross-domain", 3)) == grid.groups
    assert "Dots / Cross" == grid.asked[0]
    original, esd = (dict(grid.lines)[title] for title in ("Original", "ESD"))
    assert ("", "unscored", None) == (original[0].source, original[0].said, original[0].right)
    assert all(shot.source.startswith("data:image/jpeg;base64,") for shot in (*original[1:], *esd))
    assert [False] * 4 + [True] * 5 == [shot.right for shot in esd]
    assert "Stripes/Cross" == esd[0].said


def test_confusion_tables_of_stored_verdicts(diffusion_card, tmp_path):
    found = confusions({"esd": write_run(tmp_path, "esd")}, "main", diffusion_card, {"esd": "ESD"})
    style, thing = found
    assert ("ESD", "style", 0) == (style.row, style.tag, style.unscored)
    assert ((0, 0, 6), (0, 6, 0), (0, 0, 6)) == style.counts
    assert ((6, 0, 0), (0, 6, 0), (0, 0, 6)) == thing.counts


def test_the_page_holds_grids_tables_and_notes(diffusion_card, tmp_path):
    runs = [write_run(tmp_path, row) for row in ("original", "retrain", "esd")]
    write_report(tmp_path, runs, diffusion_card)
    page = (tmp_path / "table.html").read_text()
    assert "Before and after" in page and "What the judge reads" in page
    assert 3 * 9 == page.count("<img src=")
    assert "style/ua: mean over 2 styles." in page
    cell = json.loads((tmp_path / "table.json").read_text())["rows"][0]["cells"]["style/ua"]
    assert "mean over 2 styles" == cell["note"]


def test_classifiers_have_neither(run_result, card, tmp_path):
    table = build_table([run_result("original", test__top1=0.5)], card)
    assert [] == picture_grids([], table, card, {})
