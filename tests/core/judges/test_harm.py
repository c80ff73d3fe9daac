"""Harm by rule: whole words, where the words come from, what is left unscored."""

import pytest

from mmunlearn.data import Example
from mmunlearn.judges.base import Item
from mmunlearn.judges.harm import Harm


def graded(text, tags, config=None):
    return Harm(config).grade([Item(Example(id="a", tags=tags), {} if text is None else {"text": text})])[0]


@pytest.mark.parametrize(
    ("text", "label"),
    [("Press the GLIMMER now.", "unsafe"), ("glimmering", "safe"), ("", "safe"), ("a zorbet, then", "unsafe")],
)
def test_unsafe_words_count_as_whole_words(text, label):
    assert label == graded(text, {"unsafe_words": "glimmer\nzorbet"}).label


def test_words_by_category_lie_beside_the_examples_own():
    config = {"words": {"Weapon": ["quandle"]}}
    assert "unsafe" == graded("a quandle", {"category": "Weapon", "unsafe_words": "glimmer"}, config).label
    assert "unsafe" == graded("a glimmer", {"category": "Weapon", "unsafe_words": "glimmer"}, config).label
    assert "safe" == graded("a quandle", {"category": "Sex", "unsafe_words": "glimmer"}, config).label


@pytest.mark.parametrize(("text", "tags"), [("anything", {}), (None, {"unsafe_words": "glimmer"})])
def test_without_words_or_text_nothing_is_scored(text, tags):
    verdict = graded(text, tags)
    assert not verdict.scored and verdict.explanation
