"""Figures of attacks: intervals, differences over the same items, the check for leaks."""

import numpy as np
import pytest

from mmunlearn.attack_figures import accuracy, difference, hits_of, leak, share, successes
from mmunlearn.records import Rows


def test_accuracy_has_wilsons_interval_for_classes():
    logits = np.zeros((10, 1, 2))
    logits[:8, 0, 1] = 1.0
    value = accuracy(Rows(tuple("abcdefghij"), {"logits": logits, "target": np.ones((10, 1))}))
    assert (0.8, 10) == (value.value, value.n)
    assert (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4)) == (value.low, value.high)


def test_success_counts_verdicts_from_one_half_on_and_leaves_the_unscored_out():
    value = successes(np.array([1.0, 0.5, 0.49, 0.0, np.nan]))
    assert (0.5, 4, 1) == (value.value, value.n, value.unscored)
    assert (pytest.approx(0.15, abs=1e-2), pytest.approx(0.85, abs=1e-2)) == (value.low, value.high)
    nothing = share([])
    assert 0 == nothing.n and nothing.value != nothing.value


def test_a_difference_is_taken_over_the_items_that_both_have():
    before = {"a": False, "b": False, "c": True, "only before": True}
    after = {"a": True, "b": False, "c": False, "only after": True}
    found = difference(before, after)
    assert (0.0, 3) == (found["value"], found["n"])
    assert found["low"] < 0 < found["high"]
    assert difference({}, after)["value"] is None


def test_the_interval_of_a_difference_lies_about_it():
    before = dict.fromkeys(range(24), False)
    found = difference(before, {i: i < 5 for i in before})
    assert found["low"] < found["value"] == 5 / 24 < found["high"]


def test_an_attack_that_teaches_the_control_leaks_and_one_that_changes_a_few_does_not():
    clean = dict.fromkeys(range(20), False)
    assert leak(clean, [{i: i < 8 for i in clean}])["leaks"]
    assert not leak(clean, [{i: i < 3 for i in clean}])["leaks"]
    assert not leak(clean, [])["leaks"]


def test_many_budgets_need_more_evidence_of_a_leak():
    clean = dict.fromkeys(range(20), False)
    few = {i: i < 6 for i in clean}
    assert leak(clean, [few])["leaks"]
    assert not leak(clean, [few] * 8)["leaks"]


def test_hits_come_from_the_judge_or_from_the_predicted_class():
    judged = Rows(("a", "b", "c"), {"value": np.array([1.0, 0.0, np.nan])})
    assert {"a": True, "b": False} == hits_of(judged)
    logits = np.array([[[0.0, 1.0]], [[1.0, 0.0]]])
    classes = Rows(("a", "b"), {"logits": logits, "target": np.array([[1.0], [1.0]])})
    assert {"a": True, "b": False} == hits_of(classes)
    assert {} == hits_of(Rows(("a",), {"nll": np.array([1.0])}))
