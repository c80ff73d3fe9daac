"""Suites: which attacks they hold, with which budgets."""

import pytest

from mmunlearn import registry
from mmunlearn.attack_options import AttackOptions
from mmunlearn.attack_stage import make_stage
from mmunlearn.attack_suites import SUITES, attacks_of, find
from mmunlearn.errors import UserError
from mmunlearn.settings import build


@pytest.mark.parametrize("name", SUITES)
def test_every_attack_of_a_suite_can_be_made_under_a_title_of_its_own(name):
    suite = SUITES[name]
    entries = attacks_of(name, suite.modality)
    stages = [make_stage(entry, suite.modality, build(AttackOptions, suite.options, "options")) for entry in entries]
    titles = [stage.title for stage in stages]
    assert len(set(titles)) == len(titles)
    assert {"membership", "relearn", "prune", "quantise"} <= set(titles)


def test_every_attack_that_declares_a_suite_is_in_it():
    for name, suite in SUITES.items():
        declared = {key for key, one in registry.visible("attacks", suite.modality).items() if one.load().suite == name}
        assert declared <= {entry["name"] for entry in attacks_of(name, suite.modality)}


def test_no_attack_declares_a_suite_that_does_not_exist():
    declared = {component.load().suite for component in registry.components("attacks")} - {""}
    assert declared <= set(SUITES)


def test_attacks_on_goals_of_a_suite_have_equal_budgets_unless_they_say_otherwise(monkeypatch):
    from mmunlearn.attacks.base_goals import InputAttack

    class Guess(InputAttack):
        suite = "vqa"

        def search(self, handle, goals, seed):
            yield from ()

    class Costly(Guess):
        suite_settings = {"candidates": 2}

    class Found:
        def __init__(self, cls):
            self.load = lambda: cls

    real = registry.visible("attacks", "vlm")
    monkeypatch.setattr(
        registry, "visible", lambda kind, modality=None: {**real, "g": Found(Guess), "c": Found(Costly)}
    )
    entries = [entry for entry in attacks_of("vqa", "vlm") if entry["name"] == Guess.name()]
    assert [2, SUITES["vqa"].candidates] == sorted(entry["candidates"] for entry in entries)


def test_a_suite_of_another_modality_and_an_unknown_one_are_refused():
    with pytest.raises(UserError, match=r"vqa: is for vlm models, this is a vision one\. Its own: vision"):
        find("vqa", "vision")
    with pytest.raises(UserError, match="'vqaa' is not known"):
        find("vqaa", "vlm")
