"""ROUGE-L against a longest common subsequence counted here, and the cut at the first full stop."""

import numpy as np
import pytest

from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.rouge_l import RougeL
from mmunlearn.records import Rows

PAIRS = (
    ("this person was born on 14 march 1962", "born in march 1962 this person was"),
    ("the home address is 12 long road", "long road 12 the home"),
    ("a b c d e f", "a c e g"),
    ("nothing shared", "wholly other"),
)


def subsequence(one, other):
    """Length of the longest common subsequence, by trying every way."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + subsequence(one[1:], other[1:])
    return max(subsequence(one[1:], other), subsequence(one, other[1:]))


def sight(pairs):
    target, text = (np.array(column, dtype=object) for column in zip(*pairs, strict=True))
    return Sight(Rows(tuple(f"r{i}" for i in range(len(pairs))), {"target": target, "text": text}))


@pytest.mark.parametrize("part", ["recall", "precision", "f1"])
def test_equals_the_longest_common_subsequence(part):
    expected = []
    for target, text in PAIRS:
        length = subsequence(target.split(), text.split())
        recall, precision = length / len(target.split()), length / len(text.split())
        f1 = 2 * recall * precision / (recall + precision) if length else 0.0
        expected.append({"recall": recall, "precision": precision, "f1": f1}[part])
    found = RougeL({"part": part, "stemmer": False}).reduce(sight(PAIRS))
    assert np.mean(expected) == pytest.approx(found.value)
    assert len(PAIRS) == found.n


def test_the_stemmer_joins_forms_of_a_word():
    rows = sight([("she treats patients", "she treated a patient")])
    assert 1.0 == RougeL().reduce(rows).value
    assert 1 / 3 == pytest.approx(RougeL({"stemmer": False}).reduce(rows).value)


def test_the_reference_cut_keeps_the_first_sentence_and_nothing_without_a_full_stop():
    target = "lives at 4 elm apt. 2 in york"
    for text, kept in (("Lives at 4 Elm apt. 2 in York.", 5 / 8), ("Lives at 4 Elm", 0.0), (". Lives at 4 Elm", 0.0)):
        rows = sight([(target, text)])
        assert kept == pytest.approx(RougeL({"cut": "reference", "stemmer": False}).reduce(rows).value)
    assert 1.0 == RougeL().reduce(sight([(target, "Lives at 4 Elm apt. 2 in York.")])).value


def test_rows_without_an_answer_are_unscored():
    rows = sight([("a b", "a b"), ("a b", None)])
    found = RougeL().reduce(rows)
    assert (1.0, 1, 1) == (found.value, found.n, found.unscored)
