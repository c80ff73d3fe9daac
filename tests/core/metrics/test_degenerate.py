"""Which answers are no answers, and the length of answers."""

import numpy as np
import pytest

from mmunlearn.metrics.answer_length import AnswerLength
from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.degenerate import Degenerate
from mmunlearn.records import Rows


def sight(*texts):
    return Sight(Rows(tuple(f"r{i}" for i in range(len(texts))), {"text": np.array(texts, dtype=object)}))


@pytest.mark.parametrize("text", ["", "   ", "the the the the the the", "US US US US US US US", "....", ",,, ;; --"])
def test_no_answer(text):
    assert 1.0 == Degenerate().reduce(sight(text)).value


@pytest.mark.parametrize("text", ["This person was born on 14 March 1962.", "No.", "I cannot say anything about this."])
def test_an_answer(text):
    assert 0.0 == Degenerate().reduce(sight(text)).value


def test_share_of_answers_with_missing_ones_left_out():
    found = Degenerate().reduce(sight("", "Yes, it is.", None, "no no no no no no"))
    assert (2 / 3, 3, 1) == (pytest.approx(found.value), found.n, found.unscored)


def test_length_counts_words():
    found = AnswerLength().reduce(sight("one two three", "", None))
    assert (1.5, 2, 1) == (found.value, found.n, found.unscored)
