"""Requests that start from an earlier request's models, and rows that run another method for a request."""

from pathlib import Path

import pytest

from mmunlearn.card_tables import Table
from mmunlearn.cards import read_card
from mmunlearn.errors import UserError
from mmunlearn.reproduce import Plan, points, run_settings
from mmunlearn.settings import build

BASE = {
    "title": "t", "columns": [], "rows": ["original", "retrain"],
    "requests": {"one": {"a": 1}, "two": {"a": 1}, "three": {"a": 1}},
}  # fmt: skip


def plan(**more):
    return Plan("offside", Path("out"), rows=("ga",), **more)


def by_name(**more):
    card = read_card("offside")
    return {p.name: p for p in points(card, plan(**more))}


def test_a_correction_starts_from_the_same_rows_unlearned_model_and_so_does_the_control():
    card, runs = read_card("offside"), by_name()
    for row in ("ga", "retrain"):
        settings = run_settings(card, plan(), runs[f"{row}@corrected_40-s0"])
        assert f"../{row}@complete-s0" == settings["start"]
        assert ("finetune", "relearn", 40) == tuple(settings["method"][k] for k in ("name", "on", "steps"))
        assert ["complete"] == settings["earlier"]


def test_other_requests_start_from_the_original_or_from_nothing():
    card, runs = read_card("offside"), by_name()
    assert "../original-s0" == run_settings(card, plan(), runs["ga@selective-s0"])["start"]
    assert None is run_settings(card, plan(), runs["retrain@selective-s0"])["start"]
    assert "../original-s0" == run_settings(card, plan(), runs["original@corrected_40-s0"])["start"]


def test_choosing_a_correction_brings_the_request_before_it():
    assert "ga@complete-s0" in by_name(requests=("corrected_10",))
    assert "ga@selective-s0" not in by_name(requests=("corrected_10",))


def test_a_request_that_names_another_method_has_none_of_the_rows_settings():
    card = read_card("offside")
    assert "weights" not in card.method("gd", "main", "mini", None, "corrected_10")
    assert "weights" in card.method("gd", "main", "mini", None, "complete")


def test_before_is_the_whole_way():
    table = build(Table, {**BASE, "after": {"two": "one", "three": "two"}}, "t")
    assert ("one", "two") == table.before("three")
    assert () == table.before("one")


@pytest.mark.parametrize("after", [{"one": "two"}, {"two": "nothing"}, {"nothing": "one"}, {"two": "two"}])
def test_only_earlier_requests_can_come_before(after):
    with pytest.raises(UserError, match="must be an earlier request"):
        build(Table, {**BASE, "after": after}, "t")


def test_a_preset_that_names_another_method_has_its_own_settings_alone():
    card = read_card("offside")
    assert "npo_batch_mean" == card.method("npo", "main", "full", "reference")["name"]
    assert "gamma" not in card.method("npo", "main", "full", "reference")
    assert "gamma" in card.method("npo", "main", "full")
