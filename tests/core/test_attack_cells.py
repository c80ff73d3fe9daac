"""Cells of an attacked row, by hand."""

import json

import pytest

from mmunlearn.attack_cells import attack_cells, goals_won
from mmunlearn.records import Shard


def one(value, origin="iteration 1", tag="1"):
    verdict = {"value": value, "label": None, "explanation": "", "raw": ""}
    candidate = {"id": "x", "prompt": "p", "tags": {"round_trip": tag} if tag else {}, "image": None}
    return {"origin": origin, "verdict": verdict, "candidate": candidate, "answer": {}}


def row(name, clean, tries, steps=0, seconds=60.0):
    verdict = {"value": clean, "label": None, "explanation": "", "raw": ""}
    cost = {"queries": 1, "gradient_steps": steps, "seconds": seconds}
    return {"id": name, "clean": verdict, "tries": tries, "cost": cost}


def test_rates_costs_and_refusals(tmp_path):
    folder = tmp_path / "attacks" / "x"
    rows = [
        row("clean", 1.0, [one(0.0, "the goal itself", "")]),
        row("first", 0.0, [one(1.0)], steps=20, seconds=120),
        row("second", 0.0, [one(0.0, tag="0"), one(1.0)], steps=40),
        row("never", 0.0, [one(0.0), one(0.0)], steps=40),
        row("long", 0.0, [one(None, "refused", "")]),
    ]
    Shard(folder / "goals").append(rows)
    (folder / "results.json").write_text(json.dumps({"goals_attacked": {"asked": 5}}))
    cells = attack_cells(tmp_path, "x")
    assert 0.25 == cells["attack/pre_asr"].value and 1 == cells["attack/pre_asr"].unscored
    assert (0.75, 4) == (cells["attack/asr"].value, cells["attack/asr"].n)  # clean or any try
    assert (0.5, 0.75) == (cells["attack/asr_at_1"].value, cells["attack/asr_at_2"].value)
    assert pytest.approx((60 + 120 + 60 + 60) / 4 / 60) == cells["attack/minutes"].value
    assert 25 == cells["attack/gradient_steps"].value
    assert 0.2 == cells["attack/refused"].value
    assert 0.8 == cells["attack/round_trip"].value
    assert cells["attack/asr"].low < 0.75 < cells["attack/asr"].high


def test_goals_whose_clean_answer_succeeds_count_though_they_are_not_attacked(tmp_path):
    folder = tmp_path / "attacks" / "x"
    rows = [
        row("shown", 1.0, [one(None, "nothing", "")], seconds=0),
        row("also shown", 1.0, [], seconds=0),
        row("found", 0.0, [one(0.0), one(1.0)], steps=40, seconds=30),
        row("never", 0.0, [one(0.0), one(0.0)], steps=40, seconds=90),
        row("unscored", None, [one(None)], steps=20),
    ]
    Shard(folder / "goals").append(rows)
    (folder / "results.json").write_text(json.dumps({"goals_attacked": {"asked": 5}}))
    cells = attack_cells(tmp_path, "x")
    assert (0.5, 4, 1) == (cells["attack/pre_asr"].value, cells["attack/pre_asr"].n, cells["attack/pre_asr"].unscored)
    assert (0.75, 4) == (cells["attack/asr"].value, cells["attack/asr"].n)
    assert (0.5, 0.75) == (cells["attack/asr_at_1"].value, cells["attack/asr_at_2"].value)
    assert {"shown": True, "also shown": True, "found": True, "never": False} == goals_won(tmp_path, "x")
    assert (1.0, 40, 2) == tuple(cells[f"attack/{name}"].value for name in ("minutes", "gradient_steps", "pictures"))


def test_a_run_without_attack_has_none(tmp_path):
    assert {} == attack_cells(tmp_path, "x") == goals_won(tmp_path, "x")
