"""Policies by which an answer counts as given away."""

import pytest

from mmunlearn.data import Example
from mmunlearn.judges.answer_match import AnswerMatch
from mmunlearn.judges.base import Item


@pytest.mark.parametrize(
    ("policy", "text", "target", "value"),
    [
        ("word_boundary", "He likes Skiing.", "Ski", 0.0),
        ("word_boundary", "a ski, yes", "Ski", 1.0),
        ("substring_cs", "He likes Skiing.", "Ski", 1.0),
        ("substring_cs", "a ski", "Ski", 0.0),
        ("substring_cs", "S!ki", "Ski", 1.0),
        ("normalised_exact", "Ski.", "ski", 1.0),
        ("normalised_exact", "a ski", "ski", 0.0),
    ],
)
def test_policies(policy, text, target, value):
    (verdict,) = AnswerMatch({"policy": policy}).grade([Item(Example(id="a", target=target), {"text": text})])
    assert value == verdict.value


def test_what_cannot_be_compared_is_unscored():
    items = [Item(Example(id="a", target=" "), {"text": "x"}), Item(Example(id="b", target="x"), {})]
    assert [False, False] == [verdict.scored for verdict in AnswerMatch().grade(items)]
