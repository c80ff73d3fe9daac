"""Keyword recall, by hand: substrings in any case, the cut, rows without keywords."""

import numpy as np
import pytest

from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.keyword_recall import KeywordRecall
from mmunlearn.records import Rows


def recall(*pairs, **settings):
    text, keys = (np.array(column, dtype=object) for column in zip(*pairs, strict=True))
    columns = {"text": text, "tag.keywords": keys}
    return KeywordRecall(settings).reduce(Sight(Rows(tuple(f"r{i}" for i in range(len(pairs))), columns)))


def test_mean_over_rows_of_the_share_of_keywords():
    found = recall(("Born on 14 march 1962.", "14 March\n1962"), ("Born on 15 March 1962.", "14 March\n1962"))
    assert (0.75, 2) == (found.value, found.n)
    assert np.std([1.0, 0.5], ddof=1) / np.sqrt(2) == pytest.approx(found.stderr)


def test_a_substring_counts_and_words_need_not_be_whole():
    assert 1.0 == recall(("A party.", "art")).value


def test_a_keyword_of_several_words_counts_whole_or_not_at_all():
    assert 0.0 == recall(("Lives in New York.", "New Melissa")).value


def test_the_reference_cut_loses_what_follows_the_first_full_stop():
    pair = ("It is Dr. Helen Marsh.", "Helen Marsh")
    assert (1.0, 0.0) == (recall(pair).value, recall(pair, cut="reference").value)
    assert 0.0 == recall(("It is Helen Marsh", "Helen Marsh"), cut="reference").value


def test_rows_without_keywords_or_answer_are_unscored():
    found = recall(("x", ""), (None, "x"), ("x", "x"))
    assert (1.0, 1, 2) == (found.value, found.n, found.unscored)
