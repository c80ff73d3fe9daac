"""The MU and FQ columns of FIUBench's Table 2 come out of its other columns; the scale from the original's own rows."""

import math

import numpy as np
import pytest
from mmunlearn.vlm.metrics.forget_quality import ForgetQuality
from mmunlearn.vlm.metrics.model_utility import ModelUtility

from mmunlearn.cards import read_card
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.metrics.ks_log_p import KsLogP
from mmunlearn.records import Rows

# ROUGE-L, GPT, Truth, ACC, MU, KS log p, EM, MIA, APE, FQ (percent; vlm_fiu_mmu_safe.md 1.6)
TABLE = {
    "retrain": (93.7, 83.3, 77.3, 100.0, 88.6, 0.00, 13.3, 12.3, 14.7, 93.3),
    "ga": (50.6, 10.0, 48.4, 60.8, 42.5, -0.03, 14.0, 13.0, 15.4, 92.9),
    "gd": (70.2, 37.1, 59.6, 79.5, 61.6, -5.80, 18.9, 12.6, 19.0, 80.7),
    "kl": (90.3, 56.7, 72.6, 93.3, 78.2, -21.7, 41.2, 42.1, 46.8, 36.8),
    "po": (72.8, 33.6, 60.7, 90.6, 64.5, -4.70, 6.90, 64.2, 6.80, 76.0),
}
NOTHING = Rows((), {})


def cells(**values):
    return {name.replace("__", "/"): Value(value, 10) for name, value in values.items()}


@pytest.mark.parametrize("row", TABLE)
def test_model_utility_of_the_paper(row):
    rouge, gpt, truth, acc, utility, *_ = (value / 100 for value in TABLE[row])
    known = cells(retain__rouge_l=rouge, retain__gpt=gpt, retain__truth_ratio=truth, utility__acc=acc)
    metric = ModelUtility({"extra": ["retain/gpt", "utility/acc"]})
    found = metric.reduce(Sight(NOTHING, cells=known))
    assert utility == pytest.approx(found.value, abs=0.001)
    assert 4 == found.n


@pytest.mark.parametrize("row", TABLE)
def test_forget_quality_of_the_paper(row):
    ks, recall, min_k, ape, quality = TABLE[row][5:]
    known = cells(
        forget__ks_log_p=ks, forget__keyword_recall=recall / 100, forget__min_k=min_k / 100, forget__ape=ape / 100
    )
    found = ForgetQuality({"log_p_min": -26.1}).reduce(Sight(NOTHING, cells=known))
    # A tenth of a percent and a rounding: log p_min is known to one decimal, and PO comes out as 76.101 for 76.0.
    assert quality / 100 == pytest.approx(found.value, abs=0.00105)


def test_the_harmonic_mean_of_the_code_is_another_number():
    known = cells(a__x=0.9, a__y=0.3)
    settings = {"cells": ["a/x", "a/y"]}
    assert 0.6 == pytest.approx(ModelUtility(settings).reduce(Sight(NOTHING, cells=known)).value)
    harmonic = ModelUtility({**settings, "variant": "code"}).reduce(Sight(NOTHING, cells=known))
    assert 2 / (1 / 0.9 + 1 / 0.3) == pytest.approx(harmonic.value)


def test_model_utility_needs_its_cells_and_says_how_many_went_in():
    assert math.isnan(ModelUtility().reduce(Sight(NOTHING, cells=cells(retain__rouge_l=0.9))).value)
    known = cells(retain__rouge_l=0.9, retain__truth_ratio=0.5, retain__gpt=math.nan)
    assert (0.7, 2) == ModelUtility({"extra": ["retain/gpt", "no/such"]}).reduce(Sight(NOTHING, cells=known))[:2]


def rows(ratios):
    losses = np.array([[0.0, math.log(ratio)] for ratio in ratios])
    ids = tuple(f"r{i:02d}" for i in range(len(losses)))
    return Rows(ids, {"choices_nll": losses, "choices_count": np.ones_like(losses)})


def test_without_a_given_scale_the_original_s_own_value_counts_as_nothing():
    gold, before, now = rows(np.linspace(0.5, 1.5, 30)), rows(np.linspace(5, 9, 30)), rows(np.linspace(1.0, 2.0, 30))
    floor = KsLogP().reduce(Sight(before, reference=gold)).value
    ks = KsLogP().reduce(Sight(now, reference=gold)).value
    known = cells(forget__ks_log_p=ks, forget__keyword_recall=1.0, forget__min_k=1.0, forget__ape=1.0)
    found = ForgetQuality().reduce(Sight(now, reference=gold, original=before, cells=known))
    assert floor < ks < 0
    assert 0.5 * (1 - ks / floor) == pytest.approx(found.value)
    worst = ForgetQuality().reduce(Sight(now, reference=gold, original=before, cells=cells(
        forget__ks_log_p=floor * 2, forget__keyword_recall=1.0, forget__min_k=1.0, forget__ape=1.0)))  # fmt: skip
    assert 0.0 == worst.value


def test_without_the_original_there_is_no_scale():
    known = cells(forget__ks_log_p=-1.0, forget__keyword_recall=0.1, forget__min_k=0.1, forget__ape=0.1)
    assert math.isnan(ForgetQuality().reduce(Sight(NOTHING, cells=known)).value)
    assert ForgetQuality().needs_original and not ForgetQuality({"log_p_min": -26.1}).needs_original


@pytest.mark.parametrize(("table", "section"), [("main", ""), ("reference", "released")])
def test_the_card_holds_the_same_numbers(table, section):
    paper = read_card("fiubench").tables[table].paper
    forget, retain, total = (section, f"{section}_retain", f"{section}_all") if section else ("forget", "retain", "all")
    names = (
        f"{retain}/rouge_l", "retain/gpt_factuality", f"{retain}/truth_ratio", "utility/accuracy",
        f"{total}/model_utility", f"{forget}/ks_log_p", f"{forget}/keyword_recall", f"{forget}/min_k",
        f"{forget}/ape", f"{total}/forget_quality",
    )  # fmt: skip
    for row, numbers in TABLE.items():
        for name, number in zip(names, numbers, strict=True):
            expected = number if name.endswith("ks_log_p") else number / 100
            assert expected == pytest.approx(paper.cells[row][name]), (row, name)
