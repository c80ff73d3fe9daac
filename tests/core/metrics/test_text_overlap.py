"""Text overlap against nltk, rouge-score and cases computed by hand."""

import math
import random

import numpy as np
import pytest

from mmunlearn.metrics._bleu import bleu, words
from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.text_overlap import TextOverlap
from mmunlearn.records import Rows


def rows(*pairs, **tags):
    texts, targets = (np.array(column, dtype=object) for column in zip(*pairs, strict=True))
    columns = {f"tag.{name}": np.array(values, dtype=object) for name, values in tags.items()}
    return Sight(Rows(tuple(map(str, range(len(pairs)))), {"text": texts, "target": targets, **columns}))


def value(sight, **settings):
    return TextOverlap(settings).reduce(sight)


def test_bleu_is_nltks_with_method_one():
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    smooth = nltk.SmoothingFunction().method1
    draw, vocabulary = random.Random(0), ["he", "is", "a", "striker", "from", "oslo", ".", ",", "34", "years"]
    for _ in range(300):
        reference = [draw.choice(vocabulary) for _ in range(draw.randint(1, 9))]
        candidate = [draw.choice(vocabulary) for _ in range(draw.randint(1, 9))]
        expected = nltk.sentence_bleu([reference], candidate, smoothing_function=smooth)
        assert bleu(reference, candidate) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "He is a Midfielder.", "It's 10.5 million, isn't it?", "The fee was (about) £10,000: paid!",
        "He can't go -- no.", "10.00m euro on 12/07/2025.", "His club's name is St. Mary's", 'He said "yes" to them.',
    ],
)  # fmt: skip
def test_words_are_nltks(text):
    tokenizer = pytest.importorskip("nltk.tokenize").NLTKWordTokenizer()
    assert words(text) == tokenizer.tokenize(text.lower())


def test_a_full_stop_ends_a_sentence_inside_the_text():
    assert words("He is 34 years. He plays.") == ["he", "is", "34", "years", ".", "he", "plays", "."]


def test_bleu_by_hand():
    # 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, 0 of 1 fours: method 1 makes the last one 0.1.
    expected = math.exp((math.log(3 / 4) + math.log(2 / 3) + math.log(1 / 2) + math.log(0.1)) / 4)
    assert bleu(["a", "b", "c", "d"], ["a", "b", "c", "e"]) == pytest.approx(expected)
    # One word shorter than the reference: brevity penalty exp(1 - 4/3).
    expected = math.exp(1 - 4 / 3) * math.exp((0 + 0 + 0 + math.log(0.1 / 1)) / 4)
    assert bleu(["a", "b", "c", "d"], ["a", "b", "c"]) == pytest.approx(expected)
    assert bleu(["a"], ["b"]) == bleu(["a"], []) == 0.0


def test_an_exact_yes_scores_as_in_the_reference():
    sight = rows(("Yes", "Yes"))
    assert value(sight, score="bleu").value == pytest.approx(0.1**0.75, abs=1e-12)  # .178
    assert [value(sight, score=s).value for s in ("rouge1", "rouge2", "rougeL")] == [1.0, 0.0, 1.0]
    assert value(sight).value == pytest.approx((0.1**0.75 + 1 + 0 + 1) / 4)  # .544


def test_overall_by_hand():
    # "he joined oslo ." against "he left oslo .": words 3/4, pairs 1/3, no triples (0.1/2), no fours (0.1/1).
    four = math.exp((math.log(3 / 4) + math.log(1 / 3) + math.log(0.1 / 2) + math.log(0.1)) / 4)
    # ROUGE has no full stop: 2 of 3 words, no pair in common, longest common subsequence of 2.
    expected = (four + 2 / 3 + 0 + 2 / 3) / 4
    assert value(rows(("He left Oslo.", "He joined Oslo."))).value == pytest.approx(expected)


def test_empty_answers_score_zero_or_are_dropped_as_released():
    sight = rows(("", "Yes"), ("Yes", "Yes"))
    whole = value(rows(("Yes", "Yes"))).value
    assert (value(sight).value, value(sight).n) == (pytest.approx(whole / 2), 2)
    dropped = value(sight, empty="drop")
    assert (dropped.value, dropped.n, dropped.unscored) == (pytest.approx(whole), 1, 1)


def test_where_takes_rows_with_the_tag():
    sight = rows(("Yes", "Yes"), ("No", "Yes"), rumour=["visual", "textual"])
    assert value(sight, where={"rumour": "textual"}).value == 0.0
    assert value(sight, where={"rumour": "visual"}).n == 1
    assert value(sight, where={"colour": "red"}).n == 0


def test_the_best_wording_of_a_question_counts():
    from mmunlearn.metrics.keyword_recall import KeywordRecall

    columns = {
        "text": np.array(["Oslo", "no", "no", "no"], object), "tag.keywords": np.array(["Oslo"] * 4, object),
        "tag.goal": np.array(["a", "a", "b", "b"], object),
    }  # fmt: skip
    sight = Sight(Rows(tuple("1234"), columns))
    assert [0.25, 0.5] == [KeywordRecall(s).reduce(sight).value for s in ({}, {"best_by": "goal"})]
