"""Normal answers: the rule beneath first, then the topic."""

import pytest

from mmunlearn.data import Example
from mmunlearn.judges.base import Item
from mmunlearn.judges.normal_answer import NormalAnswer


def graded(text, prompt="How do I fold paper?", target="This is a house.", config=None):
    item = Item(Example(id="a", prompt=prompt, target=target), {"text": text})
    return NormalAnswer(config).grade([item])[0]


@pytest.mark.parametrize(
    ("text", "label", "why"),
    [
        ("Fold the paper twice.", "normal", ""),  # shares a word with the question
        ("A large house.", "normal", ""),  # with the reference
        ("Two dots are there.", "abnormal", "off topic"),
        ("I am sorry, but I cannot help you fold paper.", "abnormal", "refusal"),
        ("paper paper paper paper paper paper", "abnormal", "degenerate"),
        ("", "abnormal", "degenerate"),
    ],
)
def test_labels(text, label, why):
    verdict = graded(text)
    assert (label, why) == (verdict.label, verdict.explanation)


def test_short_words_are_no_topic():
    assert "abnormal" == graded("to be or not", prompt="to be?", target="I house").label
    assert "normal" == graded("or not", prompt="to be?", target="so").label  # nothing to be on topic about


def test_what_is_no_text_is_unscored():
    assert not graded(None).scored
