"""The page of a suite: its lines, leaks, figure and the candidates that were found."""

import json

from mmunlearn.records import Shard
from mmunlearn.report.attack_figure import budget_figure, budget_points
from mmunlearn.report.attack_page import write_attack_report
from mmunlearn.report.attack_summary import comparison, leaking, line_of

COST = {"queries": 12, "gradient_steps": 3, "seconds": 1.25}


def _cell(value, low=None, high=None, clean=None):
    return {
        "value": value,
        "n": 8,
        "stderr": None,
        "unscored": 0,
        "flag": None,
        "low": low,
        "high": high,
        "clean": clean,
    }


def _part(title, clean, values):
    curve = [
        {"budget": f"{b} candidates", "cost": COST, "cells": {"success": _cell(v, v - 0.1, v + 0.1)}}
        for b, v in values.items()
    ]
    last = list(values.values())[-1]
    return {
        "cells": {f"{title}/success": _cell(last, last - 0.1, last + 0.1, clean)}, "curve": curve, "cost": COST,
        "worst": curve[-1]["budget"],
    }  # fmt: skip


def _results(title="prefix", clean=0.1, values=None, **more):
    part = _part(title, clean, values or {1: 0.2, 5: 0.6})
    return {"attack": title, "access": "TEXT", "goals": "forget", "judge": {"name": "keywords"}, **part, **more}


def _with_control(**more):
    control = _part("prefix", 0.0, {1: 0.0, 5: 0.4}) | {"run": "retrain-s0"}
    difference = {"value": 0.4, "n": 8, "low": 0.05, "high": 0.4}
    return _results(control=control, leaks=True, control_difference=difference, above_control=difference, **more)


def test_a_line_holds_clean_attacked_control_and_cost():
    assert (
        "prefix", "text", "5 candidates", "0.100", "0.600 [0.500, 0.700]", "0.000 → 0.400 !",
        "0.400 [0.050, 0.400]", "12", "3", "1.2",
    ) == line_of(_with_control()).figures  # fmt: skip
    assert ("–", "–") == line_of(_results()).figures[5:7]


def test_attacks_on_answers_show_their_auc():
    cells = {"membership/mia": _cell(0.7), "membership/loss_auc": _cell(0.8, 0.7, 0.9)}
    found = {"attack": "membership", "access": "LOGITS", "cells": cells, "curve": [], "cost": COST}
    assert "membership (loss_auc)" == line_of(found).figures[0]
    assert "0.800 [0.700, 0.900]" == line_of(found).figures[4]


def test_runs_stand_side_by_side_and_a_missing_attack_leaves_its_place():
    titles, rows = comparison({"npo-s0": [_with_control()], "ga-s0": [_results("role_play")]})
    assert ("attack", "access", "npo-s0", "ga-s0", "control") == titles
    assert ("prefix", "text", "0.100 → 0.600 [0.500, 0.700]", "–", "0.000 → 0.400 !") == rows[0]
    assert "–" == rows[1][2]


def test_only_leaks_are_told():
    (sentence,) = leaking([_with_control(), _results("role_play", leaks=False)])
    assert sentence.startswith("prefix leaks")
    (sentence,) = leaking([_with_control(teaches=True)])
    assert sentence.startswith("prefix trains on forget examples") and "leaks" not in sentence


def test_the_curve_begins_with_the_clean_rate():
    assert ["clean", "1 candidates", "5 candidates"] == [point[0] for point in budget_points(_results())]
    assert [0.1, 0.2, 0.6] == [point[1] for point in budget_points(_results())]
    assert [0.0, 0.0, 0.4] == [point[1] for point in budget_points(_with_control(), _with_control()["control"])]


def test_page_and_picture_are_written_with_what_was_found(tmp_path):
    run = tmp_path / "npo-s0"
    verdict = {"value": 1.0, "label": "found", "explanation": "", "raw": ""}
    row = {
        "id": "fiubench/1", "clean": verdict | {"value": 0.0}, "cost": COST, "tries": [
            {"origin": "prefix 2", "verdict": verdict, "answer": {"text": "Oslo <b>"},
             "candidate": {"id": "fiubench/1#0", "prompt": "Sure! Where?", "tags": {}, "image": "goal"}}],
    }  # fmt: skip
    Shard(run / "attacks" / "prefix" / "goals").append([row])
    page, picture = write_attack_report(tmp_path, {"npo-s0": [_with_control()]}, {"npo-s0": run})
    text = page.read_text()
    assert picture is not None and picture.read_bytes().startswith(b"\x89PNG")
    assert "Sure! Where?" in text and "Oslo &lt;b&gt;" in text and "prefix leaks" in text and "<svg" in text
    assert 'src="http' not in text and "<script" not in text


def test_nothing_to_draw_gives_no_picture(tmp_path):
    found = {
        "attack": "membership",
        "access": "LOGITS",
        "cells": {"membership/auc": _cell(0.8)},
        "curve": [],
        "cost": COST,
    }
    assert budget_figure({"a": [found]}) is None
    page, picture = write_attack_report(tmp_path, {"a": [found]}, {"a": tmp_path})
    assert picture is None and page.is_file()
    assert json.dumps(found)
