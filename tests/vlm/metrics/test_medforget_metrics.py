"""Metrics of MedForget by hand."""

import math

import numpy as np
import pytest
from mmunlearn.vlm.metrics.answer_match import AnswerMatch
from mmunlearn.vlm.metrics.weighted_total import WeightedTotal

from mmunlearn.metrics.base import Sight
from mmunlearn.metrics.mean_verdict import MeanVerdict
from mmunlearn.metrics.rouge_l import RougeL
from mmunlearn.records import Rows


def sight(texts, targets, **columns):
    text = {"text": np.array(texts, object), "target": np.array(targets, object)}
    return Sight(Rows(tuple(map(str, range(len(texts)))), {**text, **columns}))


ROWS = (["a small nodule", "nothing seen"], ["a large nodule", "nothing"])


def test_total_is_a_quarter_overlap_and_three_quarters_judge():
    # ROUGE-L F1: two of three words on both sides = 2/3; precision 1/2, recall 1 = 2/3.
    value = WeightedTotal().reduce(sight(*ROWS, value=np.array([8.0, 3.0])))
    assert 0.25 * 2 / 3 + 0.75 * (0.8 + 0.3) / 2 == pytest.approx(value.value)


def test_failed_verdicts_are_left_out_or_zero_as_released():
    rows = sight(*ROWS, value=np.array([8.0, math.nan]))
    kept = WeightedTotal().reduce(rows)
    assert (0.25 * 2 / 3 + 0.75 * 0.8, 1, 1) == (pytest.approx(kept.value), kept.n, kept.unscored)
    released = WeightedTotal({"failed": "zero"}).reduce(rows)
    assert (0.25 * 2 / 3 + 0.75 * 0.4, 2) == (pytest.approx(released.value), released.n)
    assert [8.0, 4.0] == [MeanVerdict(s).reduce(rows).value for s in ({}, {"failed": 0.0})]


def test_exact_accuracy_is_rouge_of_one_and_the_tolerant_one_reads_letters():
    texts, targets = ["B", "B) normal", "normal", "A"], ["B"] * 4
    rows = sight(texts, targets, **{"tag.options": np.array(["nodule\nnormal\nline"] * 4, object)})
    assert 0.25 == RougeL({"part": "f1", "exact": True}).reduce(rows).value
    assert 0.75 == AnswerMatch().reduce(rows).value


def test_cloze_is_read_as_whole_words():
    rows = sight(["It is a Small nodule.", "small nodules"], ["small nodule", "small nodule"])
    assert 0.5 == AnswerMatch().reduce(rows).value


def test_tasks_are_scored_apart():
    rows = sight(["x", "y"], ["x", "z"], **{"tag.task": np.array(["cloze", "generation"], object)})
    assert [1.0, 0.0] == [AnswerMatch({"where": {"task": t}}).reduce(rows).value for t in ("cloze", "generation")]
