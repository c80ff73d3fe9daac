"""Settings of a run from a row of a card: what lies under the user's words, and what must be told."""

import pytest

from mmunlearn.cards import read_card
from mmunlearn.errors import UserError
from mmunlearn.registry import components
from mmunlearn.verbs._run import run_settings

GIVEN = [
    card.name
    for card in (read_card(component.name) for component in components("benchmarks"))
    if card.rows["original"].method["name"] == "as_given"
]


def test_there_are_benchmarks_whose_full_edition_starts_from_a_published_model():
    assert {"mmubench", "safeeraser"} <= set(GIVEN)


@pytest.mark.parametrize("name", GIVEN)
def test_the_original_of_a_full_edition_is_the_model_that_is_named(name):
    found = run_settings({"benchmark": {"name": name}, "edition": "full", "row": "original", "root": "data"})
    assert (found.start, found.method["name"]) == (None, "as_given")
    assert read_card(name).editions["full"].model["name"]


def test_a_method_needs_a_model_to_start_from():
    with pytest.raises(UserError, match="start: is required and missing"):
        run_settings({"benchmark": {"name": "safeeraser"}, "row": "ga"})
