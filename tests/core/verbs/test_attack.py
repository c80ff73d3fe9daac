"""The verb attack: its mistakes in one line, its table with intervals and the clean row."""

import pytest

from mmunlearn.cli import main
from mmunlearn.verbs.attack import figure, show

CELL = {"value": 0.5, "n": 4, "stderr": 0.25, "unscored": 0, "flag": None, "low": 0.15, "high": 0.85}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing"], "is not a run"),
        (["missing", "--attack", ","], "--attack: is empty"),
        (["missing", "--attack", "prune", "relearn.steps=[1]"], "relearn: no such attack here"),
        (["missing", "options.split=[forget]"], "options.split: no such setting"),
        (["missing", "--attack", "prune", "prune=3"], "prune: is 3, not settings"),
    ],
)
def test_mistakes_are_one_line_and_exit_two(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert 2 == main(["attack", *words])
    assert said in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


def test_a_figure_shows_its_interval():
    assert "0.500 [0.150, 0.850]" == figure(CELL)
    assert "0.500" == figure(CELL | {"low": None, "high": None})
    assert "–" == figure(CELL | {"value": None})
    assert "–" == figure(None)


def test_the_table_has_the_clean_row_every_budget_and_the_control(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    point = {
        "budget": "4 steps",
        "cost": {"queries": 8, "gradient_steps": 4, "seconds": 1.0},
        "cells": {"forget_top1": CELL},
    }
    part = {"cells": {"relearn/forget_top1": CELL}, "curve": [point], "worst": "4 steps", "cost": point["cost"]}
    results = part | {"attack": "relearn", "access": "WEIGHTS", "clean": {"forget_top1": CELL | {"value": 0.25}}}
    show(results, tmp_path / "run")
    alone = capsys.readouterr().out
    assert "clean" in alone and "0.250 [0.150, 0.850]" in alone
    assert "4 steps *" in alone
    assert "Without --control" in alone
    show(results | {"control": part | {"run": "retrain"}}, tmp_path / "run")
    both = capsys.readouterr().out
    assert "retrain: 4 steps *" in both
    assert "Without --control" not in both
