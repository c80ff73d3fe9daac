"""MMUBench's metrics by hand-computed cases and loops."""

import math

import numpy as np
import pytest
from mmunlearn.vlm.metrics._names import says
from mmunlearn.vlm.metrics.c_dis import CDis, log_mass
from mmunlearn.vlm.metrics.diversity import Diversity
from mmunlearn.vlm.metrics.fluency import Fluency
from mmunlearn.vlm.metrics.generality import Generality
from mmunlearn.vlm.metrics.query_leak import QueryLeak, query_key
from mmunlearn.vlm.metrics.specificity import Specificity
from mmunlearn.vlm.metrics.unique_words import UniqueWords

from mmunlearn.errors import UserError
from mmunlearn.metrics.base import Sight
from mmunlearn.records import Rows


def rows(*items, prefix="b/queries/x"):
    return Rows.of([{"id": f"{prefix}/{n}", **item} for n, item in enumerate(items)])


def value(metric, *items, **more):
    return metric.reduce(Sight(rows(*items), **more))


# ---- words -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "phrase", "word", "substring"),
    [
        ("He has blue eyes.", "yes", False, True), ("Yes, it is.", "yes", True, True), ("YES", "Yes", True, True),
        ("这是Donald Trump。", "Donald Trump", True, True), ("Trumpets play", "trump", False, True),
        ("Donald\nTrump", "donald trump", True, False), ("Это Дональд.", "Дональд", True, True),
        ("", "a", False, False),
    ],
)  # fmt: skip
def test_words_and_substrings(text, phrase, word, substring):
    assert (word, substring) == (says(text, phrase, "word"), says(text, phrase, "substring"))


# ---- generality --------------------------------------------------------------------------------------------------
def answer(text, keywords, kind="name", **more):
    return {"text": text, "tag.keywords": keywords, "tag.kind": kind, **more}


ANSWERS = [
    answer("This is Trump.", "Donald Trump\nTrump"), answer("A man with eyes.", "yes", "presence"),
    answer("Jacob.", "Donald Trump\nTrump"), answer("A baker.", "baker", "hop"),
]  # fmt: skip


def test_generality_counts_answers_without_the_target_of_recognition_questions():
    assert (pytest.approx(2 / 3), 3) == value(Generality(), *ANSWERS)[:2]


def test_generality_of_one_kind():
    assert 0.5 == value(Generality({"kinds": ["name"]}), *ANSWERS).value
    assert 1.0 == value(Generality({"kinds": ["presence"]}), *ANSWERS).value
    assert 0.0 == value(Generality({"kinds": ["presence"], "match": "substring"}), *ANSWERS).value


def test_the_released_target_is_searched_with_its_blanks():
    raw = {"tag.raw_target": " yes"}
    items = [answer("Yes, it is.", "yes", "presence", **raw), answer("Oh yes", "yes", "presence", **raw)]
    assert 0.5 == value(Generality({"match": "substring"}), *items).value
    assert 0.0 == value(Generality(), *items).value


def test_rows_without_answer_or_target_are_unscored():
    found = value(Generality(), answer(None, "x"), answer("a", ""), answer("a", "x"))
    assert (1.0, 1, 2) == (found.value, found.n, found.unscored)


# ---- specificity -------------------------------------------------------------------------------------------------
def test_specificity_is_the_mean_of_the_sources():
    items = [
        answer("red", "red", **{"tag.source": "a"}), answer("red", "blue", **{"tag.source": "a"}),
        answer("red", "red", **{"tag.source": "b"}),
    ]  # fmt: skip
    found = value(Specificity(), *items)
    assert (0.75, 3) == (found.value, found.n)
    assert 1.0 == value(Specificity({"sources": ["b"]}), *items).value
    assert math.isnan(value(Specificity({"sources": ["c"]}), *items).value)


# ---- C-Dis -------------------------------------------------------------------------------------------------------
def test_c_dis_is_the_mean_of_the_papers_expression():
    now, before = [(0.1, 0.2), (0.5, 0.0)], [(0.3, 0.3), (0.4, 0.1)]
    expected = np.mean([-(sum(b)) * math.log(sum(a) / sum(b)) for a, b in zip(now, before, strict=True)])
    items = [[{"choices_nll": [-math.log(max(p, 1e-300)) for p in pair]} for pair in who] for who in (now, before)]
    made = [rows(*who) for who in items]
    assert CDis().reduce(Sight(made[0], original=made[1])).value == pytest.approx(expected)


def test_c_dis_of_the_original_is_zero_and_finite_for_a_name_that_is_gone():
    was, gone = rows({"choices_nll": [0.5]}), rows({"choices_nll": [2000.0]})
    assert 0.0 == CDis().reduce(Sight(was, original=was)).value
    assert CDis().reduce(Sight(gone, original=was)).value == pytest.approx(math.exp(-0.5) * 1999.5)


def test_c_dis_passes_over_questions_without_choices():
    items = [{"choices_nll": [0.5], "tag.kind": "name"}, {"tag.kind": "presence"}]
    found = CDis().reduce(Sight(rows(*items), original=rows(*items)))
    assert (0.0, 1, 0) == (found.value, found.n, found.unscored)


def test_c_dis_without_an_original_is_nothing():
    assert math.isnan(value(CDis(), {"choices_nll": [0.5]}).value)


def test_log_mass_adds_probabilities():
    assert log_mass([-math.log(0.25), -math.log(0.5)]) == pytest.approx(math.log(0.75))


# ---- fluency -----------------------------------------------------------------------------------------------------
def spoken(logprobs, words, names="Ann", size=100.0):
    return {"token_logprob": logprobs, "token_text": words, "tag.names": names, "vocabulary": size}


def test_fluency_is_the_mean_perplexity_with_names_at_one_over_the_vocabulary():
    items = [spoken([-1.0, -9.0, -2.0], [" It", " An", "n"]), spoken([-1.0], [" Yes"])]
    first = math.exp((1.0 + 2 * math.log(100)) / 3)
    assert value(Fluency(), *items).value == pytest.approx((first + math.e) / 2)


def test_fluency_without_names_and_over_all_tokens():
    items = [spoken([-1.0, -9.0, -2.0], [" It", " An", "n"]), spoken([-1.0], [" Yes"])]
    whole = value(Fluency({"names": False, "over": "tokens"}), *items)
    assert whole.value == pytest.approx(math.exp(13 / 4)) and 2 == whole.n


def test_fluency_of_a_collapsed_model_is_large_not_an_error():
    found = value(Fluency(), spoken([-5000.0], ["a"]))
    assert math.isfinite(found.value) and found.value > 1e300


def test_rows_without_a_target_are_unscored_in_fluency():
    found = value(Fluency(), spoken([-1.0], ["a"]), {"token_logprob": None, "tag.names": "Ann"})
    assert (1, 1) == (found.n, found.unscored)


# ---- diversity ---------------------------------------------------------------------------------------------------
def test_diversity_both_ways():
    items = [{"text": "a cat, a cat"}, {"text": ""}, {"text": "the Cat"}]
    assert value(Diversity(), *items).value == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert (3.0, 3) == value(UniqueWords(), *items)[:2]


# ---- membership --------------------------------------------------------------------------------------------------
QUERIES = [[-1.0, -2.0, -3.0, -4.0, -5.0]] * 3
SAID, WAS = ["a b c d", "x", "q"], ["a b", "x y", "z"]


def leak(config=None, *, factors=(1.0, 1.1, 2.0)):
    """Three queries whose Min-K under the model is `factors` times the original's."""
    texts = [rows(*({"text": text} for text in who)) for who in (SAID, WAS)]
    prefix = "b/query_text/x"
    scores = [
        rows(*({"token_logprob": [v * f for v in q]} for q, f in zip(QUERIES, who, strict=True)), prefix=prefix)
        for who in (factors, (1.0,) * 3)
    ]
    return QueryLeak(config).reduce(
        Sight(texts[0], against=scores[0], original=texts[1], original_against=scores[1])
    )  # fmt: skip


def test_recall_is_averaged_over_queries_that_read_as_before():
    found = leak()
    assert (pytest.approx((1.0 + 0.5) / 2), 2) == (found.value, found.n)


def test_the_share_of_suspicious_queries():
    assert leak({"report": "share"}).value == pytest.approx(2 / 3)


def test_the_band_and_the_references_exclusion():
    assert 1 == leak({"band": 1.05}).n
    low = {"band": 3.0}
    assert 3 == leak(low).n and leak(low).value == pytest.approx(0.5)
    assert 2 == leak({**low, "reference": True}).n


def test_no_suspicious_query_gives_no_value():
    found = leak(factors=(9.0, 9.0, 9.0))
    assert math.isnan(found.value) and 0 == found.n


def test_only_the_lowest_share_of_a_query_counts():
    texts = rows({"text": "a"})
    near = [rows({"token_logprob": [high, -3.0, -4.0, -4.0, -5.0]}, prefix="b/query_text/x") for high in (-0.1, -2.9)]
    sight = Sight(texts, against=near[0], original=texts, original_against=near[1])
    assert 1.0 == QueryLeak().reduce(sight).value
    assert math.isnan(QueryLeak({"ratio": 1.0, "band": 1.1}).reduce(sight).value)


def test_keys_leave_out_the_splits_name():
    assert "spotify/003" == query_key("mmubench/queries/spotify/003") == query_key("mmubench/query_text/spotify/003")


@pytest.mark.parametrize("config", [{"band": 1.0}, {"ratio": 0.0}, {"report": "auc"}])
def test_settings_out_of_range_are_refused(config):
    with pytest.raises(UserError, match=next(iter(config))):
        QueryLeak(config)


def test_specificity_of_one_kind_of_question():
    columns = {
        "text": ["red", "no", "Ann", "no"], "tag.keywords": ["red", "yes", "Ann", "no"],
        "tag.source": ["shapes", "pictures", "pictures", "pictures"],
        "tag.kind": ["other", "presence", "name", "presence"],
    }  # fmt: skip
    rows = Rows(tuple("abcd"), {name: np.array(values, object) for name, values in columns.items()})
    value = {
        kinds: Specificity({"sources": ["pictures"], "kinds": list(kinds)}).reduce(Sight(rows)).value
        for kinds in ((), ("name",), ("presence",))
    }
    assert {(): 2 / 3, ("name",): 1.0, ("presence",): 0.5} == value
